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

export default {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': swc },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.coffer'],
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  // A worker a core: with more, what races and kills on purpose runs into its own limits.
  maxWorkers: '100%',
  testSequencer: '<rootDir>/test/support/slowest-first.mjs',
  // Only ends what hangs: nothing is measured by it, and a busy machine must not fail a crash test.
  testTimeout: 120_000,
};
