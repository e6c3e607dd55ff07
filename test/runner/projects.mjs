/**
 * What the two configurations of jest share. Specs run in plain Node (`native-runtime.cjs`): the module graph that
 * they load is the very one of production, and the specs of a worker share it.
 */
import { availableParallelism } from 'node:os';
import { fileURLToPath, URL } from 'node:url';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

const NATIVE = {
  rootDir: here('../..'),
  runtime: here('native-runtime.cjs'),
  testEnvironment: here('native-environment.cjs'),
  // Node compiles TypeScript through `test/support/typescript-hooks.mjs`; jest itself compiles nothing.
  transform: {},
  extensionsToTreatAsEsm: ['.ts'],
  // For `--findRelatedTests` and `--onlyChanged`, which resolve imports by jest's own means.
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^coffer-sandbox/(.*)$': '<rootDir>/packages/sandbox/src/$1.ts',
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/packages/sandbox/dist/', '<rootDir>/.coffer'],
};

/** Specs that need nothing but the sources. */
export function pureProject(displayName, files) {
  return { ...NATIVE, displayName, ...files };
}

/** Specs that need a PostgreSQL server, which all projects of a run share. */
export function databaseProject(displayName, files) {
  const hooks = { globalSetup: here('global-setup.mjs'), globalTeardown: here('global-teardown.mjs') };
  return { ...NATIVE, ...hooks, displayName, ...files };
}

/** Three workers on two cores: the specs of `npm test` wait for a database a third of their time. */
export const WORKERS_OF_WAITING_SPECS = Math.ceil(availableParallelism() * 1.5);
/** Those of the long tests wait more than half of theirs, for processes that start and for what is killed. */
export const WORKERS_OF_LONG_SPECS = 2 * availableParallelism();

export const RUN = {
  // Always in processes of their own, never in jest's: there `--watch` would find every module evaluated already.
  workerIdleMemoryLimit: '1.5GB',
  // They end at once (`native-runtime.cjs`), but on a busy machine jest may hear of that only after its half second.
  workerGracefulExitTimeout: 30_000,
  testSequencer: here('slowest-first.mjs'),
  // Only ends what hangs: nothing is measured by it, and a busy machine must not fail a crash test.
  testTimeout: 120_000,
};
