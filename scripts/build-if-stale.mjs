/**
 * Compiles the service when a source is newer than the last build; otherwise costs a few milliseconds. So
 * `npm start` works on a fresh clone and never runs yesterday's code. Where there is no source (a container
 * image), the build that is there is the right one.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const stamp = join(dist, '.built');
const source = join(root, 'src');

if (existsSync(source) && isStale()) build();

function isStale() {
  if (!existsSync(stamp)) return true;
  const builtAtMs = statSync(stamp).mtimeMs;
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).map((file) => join(source, file));
  const settings = ['tsconfig.json', 'tsconfig.build.json', 'nest-cli.json', 'package-lock.json'].map(
    (file) => join(root, file),
  );
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

function build() {
  // The compiler would complain of every single file.
  const unwritable = [existsSync(dist) ? dist : root].find((directory) => !mayWrite(directory));
  if (unwritable !== undefined) {
    console.error(
      `${unwritable} cannot be written, and the build in it is older than the sources. Build where it can be (npm run build), ` +
        'or start the build that is there: node --enable-source-maps dist/main.js',
    );
    process.exit(1);
  }
  const startedAt = new Date();
  console.log('Building…');
  const nest = createRequire(import.meta.url).resolve('@nestjs/cli/bin/nest.js');
  const { status } = spawnSync(process.execPath, [nest, 'build'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
  writeFileSync(stamp, '');
  // As of the start: what was saved while the compiler ran is built next time.
  utimesSync(stamp, startedAt, startedAt);
}
