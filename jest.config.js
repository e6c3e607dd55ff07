/**
 * Native ESM: the packages this service stands on ship ES modules only, so the tests load the very
 * same module graph as production (`node --experimental-vm-modules`).
 */
const swc = [
  '@swc/jest',
  {
    jsc: {
      parser: { syntax: 'typescript', decorators: true },
      target: 'es2023',
      keepClassNames: true,
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
    },
    module: { type: 'es6' },
    sourceMaps: 'inline',
  },
];

/** Crashes, long histories and waits, and the tests of the stand-ins themselves. */
const LONG = ['\\.long\\.spec\\.ts$', '/test/stand-ins/'];

const shared = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': swc },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.coffer'],
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  // A worker a core: with more, what races and kills on purpose runs into its own limits.
  maxWorkers: '100%',
  testSequencer: '<rootDir>/test/support/slowest-first.mjs',
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
