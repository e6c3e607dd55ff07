import { describe, expect, it } from '@jest/globals';
import { holdUp } from '../support/images/hold-up.js';
import { dieAt } from '../support/process/deaths.js';

class Machine {
  work(): Promise<string> {
    return Promise.resolve('done');
  }
}

describe.each([
  ['holds up', (machine: Machine) => holdUp(machine, 'work')],
  ['stops', (machine: Machine) => dieAt(machine, 'work', 'before')],
])('what a test %s', (_what, begin) => {
  const machine = new Machine();
  let work: Promise<string>;

  it('waits', async () => {
    const { reached } = begin(machine);
    work = machine.work();
    await reached;
    // An expectation that fails ends a test here, too: nothing lets it go.
  });

  it('goes on when the test is over, and nothing of it is left to later tests', async () => {
    expect(await work).toBe('done');
    expect(await machine.work()).toBe('done');
  });
});
