import TestSequencer from '@jest/test-sequencer';

/** They wait for processes, deadlines and events. Begun last, they would leave the other core idle at the end. */
const SLOWEST =
  /\/process\/|\/(generation|top-ups-settlement|returned-money|top-ups-deliveries|generation-recovery)\./;

/** Without the durations of earlier runs, which a fresh clone has not, jest begins with the largest files. */
export default class SlowestFirst extends TestSequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    const isSlow = ({ path }) => SLOWEST.test(path);
    return [...sorted.filter(isSlow), ...sorted.filter((test) => !isSlow(test))];
  }
}
