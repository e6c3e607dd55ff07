import { fileURLToPath } from 'node:url';

/** Where the run's programs are. Set by jest's globalSetup of the long tests, inherited by its workers. */
export const PROGRAMS_VARIABLE = 'COFFER_TEST_PROGRAMS';

/** For whatever would outlive its test. It reads standard input: a program that does so itself goes without. */
export const END_WITH_PARENT = 'end-with-parent.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** File by file, as `dist` is: for tests of just that. See `compile-sources.mjs`. */
export const COMPILED_SOURCES = new URL('../../../.coffer-test-build/', import.meta.url);

/**
 * What `node` is called with to run a program of `src`, `cli` for example, as it was when the run began.
 *
 * @param preloads modules of this folder that it loads first
 * @param compiled where `src` was compiled to; by default its programs are taken from a bundle (`bundle-programs.mjs`)
 */
export function programArguments(
  program: string,
  preloads: readonly string[] = [],
  compiled = bundledPrograms(),
): string[] {
  const imports = preloads.flatMap((file) => ['--import', `${HERE}${file}`]);
  return ['--no-warnings', ...imports, fileURLToPath(new URL(`${program}.js`, compiled))];
}

function bundledPrograms(): URL {
  const programs = process.env[PROGRAMS_VARIABLE];
  if (programs === undefined) throw new Error('A test that starts processes belongs to `npm run test:long`');
  return new URL(programs);
}
