/**
 * `src` and the simulators, compiled as a whole into `.coffer-test-build/`, for the processes that tests start: `bundle-programs.mjs`
 * makes programs of it, and a few tests start it as it is. It would cost more than all else of a start if each process compiled it again.
 */
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { compiledText } from '../typescript-hooks.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const SOURCES = here('../../../src');
const SANDBOX = here('../../../packages/sandbox');
/** Next to `src`: the sources find migrations and catalogue by their own place. */
export const COMPILED = here('../../../.coffer-test-build');
/** Where Node looks for `coffer-sandbox` first. */
const COMPILED_SANDBOX = path.join(COMPILED, 'node_modules/coffer-sandbox');
/** The compiled simulators as a process of their own, from `COMPILED`. */
export const SANDBOX_PROGRAM = 'node_modules/coffer-sandbox/dist/main';

export async function compileSources() {
  await compileFolder(SOURCES, COMPILED);
  await compileFolder(path.join(SANDBOX, 'src'), path.join(COMPILED_SANDBOX, 'dist'));
  await cp(path.join(SANDBOX, 'package.json'), path.join(COMPILED_SANDBOX, 'package.json'));
}

async function compileFolder(from, to) {
  const sources = (await readdir(from, { recursive: true })).filter(isSource);
  const compiled = new Set(sources.map((file) => file.replace(/\.ts$/, '.js')));
  for (const file of await readdir(to, { recursive: true }).catch(() => [])) {
    if (/^(bundle-|node_modules\b)/.test(file)) continue;
    if (file.endsWith('.js') && !compiled.has(file)) await rm(path.join(to, file), { force: true });
  }
  await Promise.all(
    sources.map((file) => compileOne(path.join(from, file), path.join(to, file.replace(/\.ts$/, '.js')))),
  );
}

const isSource = (file) => file.endsWith('.ts') && !file.endsWith('.d.ts');

async function compileOne(source, target) {
  const text = await compiledText(source);
  if (text === (await readFile(target, 'utf8').catch(() => null))) return;
  // Whole or not at all: another run's processes may be loading it.
  await mkdir(path.dirname(target), { recursive: true });
  await writeFile(`${target}.${process.pid}`, text);
  await rename(`${target}.${process.pid}`, target);
}
