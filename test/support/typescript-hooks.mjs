/** The hooks that `typescript.mjs` registers; Node runs them in a thread of their own. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, URL } from 'node:url';

/** As `tsconfig.json` says, decorators included. */
const jsc = {
  parser: { syntax: 'typescript', decorators: true },
  target: 'es2023',
  keepClassNames: true,
  transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
};
const module = { type: 'es6' };
const { version } = createRequire(import.meta.url)('@swc/core/package.json');
const settings = JSON.stringify([version, jsc, module]);
/** Compiled files by their content: tests start some hundred processes of the same sources. */
const CACHE = new URL('../../node_modules/.cache/coffer-typescript/', import.meta.url);

const JEST_GLOBALS = new URL('../runner/globals.mjs', import.meta.url).href;
/** The simulators are imported by the name of their package, from their sources: no test waits for a build of them. */
const SANDBOX = 'coffer-sandbox/';
const SANDBOX_SOURCES = new URL('../../packages/sandbox/src/', import.meta.url);
/** The test runner adds `?run=` to a spec, so that it is evaluated each time that it is run. */
const TYPESCRIPT_URL = /\.ts(\?run=\d+)?$/;

/** Sources import each other under the name of the compiled file. */
export async function resolve(specifier, context, nextResolve) {
  if (specifier === '@jest/globals') return { url: JEST_GLOBALS, format: 'module', shortCircuit: true };
  if (specifier.startsWith(SANDBOX)) {
    const { href } = new URL(`${specifier.slice(SANDBOX.length)}.ts`, SANDBOX_SOURCES);
    return { url: href, format: 'module', shortCircuit: true };
  }
  if (/^\.{1,2}\/.*\.js$/.test(specifier) && TYPESCRIPT_URL.test(context.parentURL ?? '')) {
    const url = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
    if (existsSync(url)) return { url: url.href, format: 'module', shortCircuit: true };
  }
  return nextResolve(specifier, context);
}

export async function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !TYPESCRIPT_URL.test(url)) return nextLoad(url, context);
  return { format: 'module', source: await compiledText(fileURLToPath(url)), shortCircuit: true };
}

/** A TypeScript file as JavaScript. */
export async function compiledText(filename) {
  const text = readFileSync(filename, 'utf8');
  const key = createHash('sha256').update(`${settings}\0${filename}\0${text}`).digest('hex');
  return cached(key) ?? remember(key, await compile(text, filename));
}

async function compile(text, filename) {
  const { transform } = await import('@swc/core');
  const options = { jsc, module, filename, configFile: false, swcrc: false, sourceMaps: 'inline' };
  return (await transform(text, options)).code;
}

function cached(key) {
  try {
    return readFileSync(new URL(key, CACHE), 'utf8');
  } catch {
    return null;
  }
}

/** Whole or not at all: other processes read and write here at the same time, and some of them are killed. */
function remember(key, source) {
  try {
    mkdirSync(CACHE, { recursive: true });
    const unfinished = new URL(`${key}.${process.pid}`, CACHE);
    writeFileSync(unfinished, source);
    renameSync(unfinished, new URL(key, CACHE));
  } catch {
    // Without a place to write, every process compiles for itself.
  }
  return source;
}
