/**
 * Compiles the simulators and the service where a source is newer than the last build; otherwise costs a few milliseconds. So
 * `npm start` works on a fresh clone and never runs yesterday's code. Where there is no source (a container
 * image), the build that is there is the right one.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { resolve } = createRequire(import.meta.url);

/** The simulators come first: the service is compiled against what they declare. */
const PROJECTS = [
  {
    source: join(root, 'packages/sandbox/src'),
    dist: join(root, 'packages/sandbox/dist'),
    settings: ['tsconfig.json', 'packages/sandbox/tsconfig.build.json'],
    compile: () => [resolve('typescript/bin/tsc'), '-p', 'packages/sandbox/tsconfig.build.json'],
  },
  {
    source: join(root, 'src'),
    dist: join(root, 'dist'),
    settings: ['tsconfig.json', 'tsconfig.build.json', 'nest-cli.json'],
    compile: () => [resolve('@nestjs/cli/bin/nest.js'), 'build'],
  },
];

for (const project of PROJECTS) if (existsSync(project.source) && isStale(project)) build(project);

/** Its time is that of the last build. */
function stampOf({ dist }) {
  return join(dist, '.built');
}

function isStale(project) {
  const stamp = stampOf(project);
  if (!existsSync(stamp)) return true;
  const builtAtMs = statSync(stamp).mtimeMs;
  const { source } = project;
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).map((file) => join(source, file));
  const settings = [...project.settings, 'package-lock.json'].map((file) => join(root, file));
  // Directories too: a file that was removed or renamed leaves its mark only there.
  return [...files, source, ...settings].some(
    (file) => existsSync(file) && statSync(file).mtimeMs > builtAtMs,
  );
}

function mayWrite(directory) {
  const probe = join(directory, `.writable-${process.pid}`);
  try {
    // A read-only file system refuses root as well, whatever the modes say.
    writeFileSync(probe, '');
    rmSync(probe);
    return true;
  } catch {
    return false;
  }
}

function build(project) {
  const { dist } = project;
  // The compiler would complain of every single file.
  const unwritable = [existsSync(dist) ? dist : join(dist, '..')].find((directory) => !mayWrite(directory));
  if (unwritable !== undefined) {
    console.error(
      `${unwritable} cannot be written, and the build in it is older than the sources. Build where it can be (npm run build), ` +
        'or start the build that is there: node --enable-source-maps dist/main.js',
    );
    process.exit(1);
  }
  const startedAt = new Date();
  console.log(`Building ${dist}…`);
  const { status } = spawnSync(process.execPath, project.compile(), { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
  const stamp = stampOf(project);
  writeFileSync(stamp, '');
  // As of the start: what was saved while the compiler ran is built next time.
  utimesSync(stamp, startedAt, startedAt);
}
