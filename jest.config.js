/**
 * Specs run in plain Node (`test/runner/native-runtime.cjs`): the module graph that the tests load is the very one of
 * production, and the specs of a worker share it.
 */

/** Crashes, long histories and waits, and the tests of the stand-ins themselves. */
const LONG = ['\\.long\\.spec\\.ts$', '/test/stand-ins/'];

const shared = {
  runtime: '<rootDir>/test/runner/native-runtime.cjs',
  testEnvironment: '<rootDir>/test/runner/native-environment.cjs',
  // Node compiles TypeScript through `test/support/typescript-hooks.mjs`; jest itself compiles nothing.
  transform: {},
  extensionsToTreatAsEsm: ['.ts'],
  // For `--findRelatedTests` and `--onlyChanged`, which resolve imports by jest's own means.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.coffer'],
  globalSetup: '<rootDir>/test/runner/global-setup.mjs',
  globalTeardown: '<rootDir>/test/runner/global-teardown.mjs',
  // A worker a core: with more, what races and kills on purpose runs into its own limits.
  maxWorkers: '100%',
  // Always in processes of their own, never in jest's: there `--watch` would find every module evaluated already.
  workerIdleMemoryLimit: '1.5GB',
  testSequencer: '<rootDir>/test/runner/slowest-first.mjs',
  // Only ends what hangs: nothing is measured by it, and a busy machine must not fail a crash test.
  testTimeout: 120_000,
};

/** What `npm test` leaves out, so that it stays under four minutes on two cores; every change has to pass both. */
export const long = { ...shared, testRegex: LONG };

export default {
  ...shared,
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  testPathIgnorePatterns: LONG,
};
