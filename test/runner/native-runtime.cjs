/**
 * jest's `runtime` for specs that run in plain Node instead of a VM context.
 *
 * jest's own runtime evaluates the whole module graph again for every spec file, in a new context whose code is never
 * optimised: 2.4 s of CPU a file that imports the application, and 1.5 s to start it instead of 0.6. Here Node itself
 * imports the spec, so the specs of a worker share one module graph that is evaluated once.
 * In return they share its state: what a spec replaces (a spy, a timer, a global) it has to restore.
 *
 * jest-circus, the test framework, is jest's own and unchanged; it asks for modules through the methods below.
 * Module mocks and coverage need jest's own runtime and are refused.
 */
const { ModuleMocker } = require('jest-mock');
const asyncHooks = require('node:async_hooks');
const { register } = require('node:module');
const { pathToFileURL } = require('node:url');

register('../support/typescript-hooks.mjs', pathToFileURL(__filename));
// Stacks name the lines of the TypeScript sources. The environment keeps jest from formatting them by other maps.
process.setSourceMapsEnabled(true);

/** Read by `globals.mjs`, which specs import as `@jest/globals`. */
const GLOBALS = Symbol.for('coffer.jest-globals');
/** jest-circus keeps its event handlers in this global, and its own defaults come back when it is not set. */
const EVENT_HANDLERS = Symbol.for('EVENT_HANDLERS');
/** `jest.setTimeout` leaves the timeout here for jest-circus. */
const TEST_TIMEOUT = Symbol.for('TEST_TIMEOUT_SYMBOL');

/** The message that jest sends to a worker when nothing is left to run. */
const CHILD_MESSAGE_END = 2;

// What the specs of a worker share lives as long as the worker. jest waits half a second for a worker to end by itself
// and then complains; an ordinary exit frees some hundred megabytes first, which takes longer on a busy machine.
process.on('message', ([type]) => {
  if (type === CHILD_MESSAGE_END) process.kill(process.pid, 'SIGKILL');
});
process.on('disconnect', () => process.exit(1));

const mocker = new ModuleMocker(globalThis);
let filesRun = 0;

/**
 * Knows which test runs now, in the place of the `AsyncLocalStorage` in which jest-circus keeps it to name the test of
 * a late error. That one follows every promise of the application, an eighth of all CPU on Node 20; the tests of a file
 * run one after the other, so a variable is enough. An error that comes after its test counts for the file.
 */
class SequentialStorage {
  #store;

  getStore() {
    return this.#store;
  }

  run(store, callback) {
    const before = this.#store;
    this.#store = store;
    const restore = () => {
      this.#store = before;
    };
    const result = callback();
    if (typeof result?.then === 'function') return result.finally(restore);
    restore();
    return result;
  }
}

/** From Node 22 on it can be defined, but not assigned. */
function setAsyncLocalStorage(value) {
  Object.defineProperty(asyncHooks, 'AsyncLocalStorage', {
    value,
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

module.exports = class NativeRuntime {
  #fakeTimers;

  constructor(projectConfig, environment, resolver, transformer, sources, { collectCoverage }) {
    if (collectCoverage) throw new Error('Coverage is measured with NODE_V8_COVERAGE, not with --coverage');
    this.#fakeTimers = environment.fakeTimersModern;
  }

  /** The framework itself: a fresh copy for each spec file, because it collects the file's tests in its module state. */
  requireInternalModule(path) {
    delete globalThis[EVENT_HANDLERS];
    delete globalThis[TEST_TIMEOUT];
    delete require.cache[path];
    const { AsyncLocalStorage } = asyncHooks;
    setAsyncLocalStorage(SequentialStorage);
    try {
      return require(path);
    } finally {
      setAsyncLocalStorage(AsyncLocalStorage);
    }
  }

  requireModule(path) {
    return require(path);
  }

  unstable_shouldLoadAsEsm() {
    return true;
  }

  /** The query makes Node evaluate a spec again that it has evaluated before, as `jest --watch` does in one process. */
  unstable_importModule(path) {
    filesRun += 1;
    return import(`${pathToFileURL(path).href}?run=${filesRun}`);
  }

  setGlobalsForRuntime(globals) {
    globalThis[GLOBALS] = { ...globals, jest: this.#jestObject() };
  }

  /** jest's own runtime notices by these calls that a module is imported while no test runs. */
  enterTestCode() {}

  leaveTestCode() {}

  teardown() {
    mocker.restoreAllMocks();
    delete globalThis[GLOBALS];
  }

  resetModules() {
    throw new Error('Modules cannot be reset: all specs of a worker share them');
  }

  clearAllMocks() {
    mocker.clearAllMocks();
  }

  resetAllMocks() {
    mocker.resetAllMocks();
  }

  restoreAllMocks() {
    mocker.restoreAllMocks();
  }

  getSourceMaps() {
    return null;
  }

  getAllCoverageInfoCopy() {
    return undefined;
  }

  /** The part of jest's object that works without its own runtime. */
  #jestObject() {
    const timers = this.#fakeTimers;
    return {
      fn: mocker.fn.bind(mocker),
      spyOn: mocker.spyOn.bind(mocker),
      replaceProperty: mocker.replaceProperty.bind(mocker),
      clearAllMocks: () => mocker.clearAllMocks(),
      resetAllMocks: () => mocker.resetAllMocks(),
      restoreAllMocks: () => mocker.restoreAllMocks(),
      useFakeTimers: (options) => timers.useFakeTimers(options),
      useRealTimers: () => timers.useRealTimers(),
      setSystemTime: (now) => timers.setSystemTime(now),
      advanceTimersByTime: (ms) => timers.advanceTimersByTime(ms),
      advanceTimersByTimeAsync: (ms) => timers.advanceTimersByTimeAsync(ms),
      runAllTimers: () => timers.runAllTimers(),
      runOnlyPendingTimers: () => timers.runOnlyPendingTimers(),
      getTimerCount: () => timers.getTimerCount(),
      setTimeout: (ms) => {
        globalThis[TEST_TIMEOUT] = ms;
      },
    };
  }
};
