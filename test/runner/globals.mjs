/**
 * What specs import as `@jest/globals`. The modules that import it are evaluated once a worker, while jest-circus makes
 * its functions again for every spec file; so each name calls the function of the file that runs now.
 */
const GLOBALS = Symbol.for('coffer.jest-globals');

function current(name) {
  const globals = globalThis[GLOBALS];
  if (globals === undefined) throw new Error(`\`${name}\` of @jest/globals is used outside of a test run`);
  return globals[name];
}

/** Calls, members (`it.each`, `expect.any`) and members of members go to the function of the moment. */
function standingFor(name) {
  return new Proxy(function () {}, {
    apply: (_, self, args) => Reflect.apply(current(name), self, args),
    get: (_, member) => current(name)[member],
  });
}

export const afterAll = standingFor('afterAll');
export const afterEach = standingFor('afterEach');
export const beforeAll = standingFor('beforeAll');
export const beforeEach = standingFor('beforeEach');
export const describe = standingFor('describe');
export const expect = standingFor('expect');
export const it = standingFor('it');
export const jest = standingFor('jest');
export const test = standingFor('test');
