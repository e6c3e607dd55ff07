/** The hooks that `typescript.mjs` registers; Node runs them in a thread of their own. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath, URL } from 'node:url';
import { transform } from '@swc/core';
import jestConfig from '../../jest.config.js';

const [, { jsc, module }] = jestConfig.transform['^.+\\.ts$'];

/** Sources import each other under the name of the compiled file. */
export async function resolve(specifier, context, nextResolve) {
  if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
    const url = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
    if (existsSync(url)) return { url: url.href, format: 'module', shortCircuit: true };
  }
  return nextResolve(specifier, context);
}

export async function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return nextLoad(url, context);
  const filename = fileURLToPath(url);
  const options = { jsc, module, filename, configFile: false, swcrc: false, sourceMaps: 'inline' };
  const { code } = await transform(readFileSync(filename, 'utf8'), options);
  return { format: 'module', source: code, shortCircuit: true };
}
