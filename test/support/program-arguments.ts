import { fileURLToPath } from 'node:url';

/** For whatever would outlive its test. It reads standard input: a program that does so itself goes without. */
export const END_WITH_PARENT = 'end-with-parent.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** See `compile-sources.mjs`. */
export const COMPILED_SOURCES = new URL('../../.coffer-test-build/', import.meta.url);

/**
 * What `node` is called with to run a program of `src`, `cli` for example, compiled as the run began.
 *
 * @param preloads modules of this folder that it loads first
 * @param compiled where `src` was compiled to
 */
export function programArguments(
  program: string,
  preloads: readonly string[] = [],
  compiled = COMPILED_SOURCES,
): string[] {
  const imports = preloads.flatMap((file) => ['--import', `${HERE}${file}`]);
  return ['--no-warnings', ...imports, fileURLToPath(new URL(`${program}.js`, compiled))];
}
