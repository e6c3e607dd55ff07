/**
 * jest's `testEnvironment` for specs that run in plain Node: no VM context, so the globals of a spec are the globals
 * of its worker. What jest itself puts there for one spec file is taken away again after it.
 */
const { ModernFakeTimers } = require('@jest/fake-timers');

/** jest-circus keeps a spec file's tests under a symbol of this name, a new one for each file. */
const CIRCUS_STATE = 'JEST_STATE_SYMBOL';

/** Set by `test/fixtures/shared-app.ts`. A worker that jest ends takes its applications along. */
const CLOSE_SHARED_APPS = Symbol.for('coffer.close-shared-apps');
/** Set by `test/support/clean-up.ts`. */
const END_TEST = Symbol.for('coffer.end-test');
const IS_JEST_ITSELF = process.send === undefined;

module.exports = class NativeEnvironment {
  global = globalThis;
  /** jest-circus asks for it by this name when a project switches fake timers on for every spec. */
  fakeTimersModern;
  #console = globalThis.console;
  #exit = process.exit;
  #env = { ...process.env };

  constructor({ projectConfig }) {
    this.fakeTimersModern = new ModernFakeTimers({ config: projectConfig, global: globalThis });
  }

  async setup() {
    // jest has just installed a formatter that knows only what it compiled itself; Node's own knows all sources.
    Error.prepareStackTrace = undefined;
  }

  /** Before the hooks that follow the test, also when it took too long. */
  handleTestEvent({ name }) {
    if (name === 'test_fn_success' || name === 'test_fn_failure') globalThis[END_TEST]?.();
  }

  async teardown() {
    if (IS_JEST_ITSELF) await globalThis[CLOSE_SHARED_APPS]?.();
    this.fakeTimersModern.dispose();
    globalThis.console = this.#console;
    process.exit = this.#exit;
    restoreVariables(this.#env);
    for (const symbol of Object.getOwnPropertySymbols(globalThis)) {
      if (symbol.description === CIRCUS_STATE) delete globalThis[symbol];
    }
  }

  /** jest asks for one before each file; without a context it does not look for coverage by V8. */
  getVmContext() {
    return null;
  }
};

function restoreVariables(before) {
  for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
  for (const [name, value] of Object.entries(before))
    if (process.env[name] !== value) process.env[name] = value;
}
