/**
 * `src`, compiled as a whole into `.coffer-test-build/`, for the processes that tests start: `bundle-programs.mjs` makes
 * programs of it, and a few tests start it as it is. Compiled anew by each process it would cost more than all else of its start.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { compiledText } from '../typescript-hooks.mjs';

const SOURCES = fileURLToPath(new URL('../../../src', import.meta.url));
/** Beside `src`: the sources find migrations and catalogue by their own place. */
export const COMPILED = fileURLToPath(new URL('../../../.coffer-test-build', import.meta.url));

export async function compileSources() {
  const sources = (await readdir(SOURCES, { recursive: true })).filter(isSource);
  const compiled = new Set(sources.map((file) => file.replace(/\.ts$/, '.js')));
  for (const file of await readdir(COMPILED, { recursive: true }).catch(() => [])) {
    if (file.startsWith('bundle-')) continue;
    if (file.endsWith('.js') && !compiled.has(file)) await rm(path.join(COMPILED, file), { force: true });
  }
  await Promise.all(sources.map(compileOne));
}

const isSource = (file) => file.endsWith('.ts') && !file.endsWith('.d.ts');

async function compileOne(file) {
  const source = path.join(SOURCES, file);
  const target = path.join(COMPILED, file.replace(/\.ts$/, '.js'));
  const text = await compiledText(source);
  if (text === (await readFile(target, 'utf8').catch(() => null))) return;
  // Whole or not at all: another run's processes may be loading it.
  await mkdir(path.dirname(target), { recursive: true });
  await writeFile(`${target}.${process.pid}`, text);
  await rename(`${target}.${process.pid}`, target);
}
