import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { CLOCK, type Clock } from '../../src/platform/common/clock.js';
import { JobServices, type JobService } from '../support/job-services.js';
import { eventually } from '../support/processes.js';

const HOUR_MS = 3_600_000;

let services: JobServices;
beforeAll(async () => {
  services = await JobServices.open();
});
afterEach(() => services.clear());
afterAll(() => services.close());

/** As if the clock of its machine were set. */
function setClock({ app }: JobService, wrongByMs: number): void {
  Object.assign(app.get<Clock>(CLOCK), { nowMs: () => Date.now() + wrongByMs });
}

describe('a process whose clock becomes wrong', () => {
  it.each([2 * HOUR_MS, -2 * HOUR_MS])(
    'runs no jobs, says so, leaves them to others, and runs them again once it is right (wrong by %d ms)',
    async (wrongByMs) => {
      const warn = jest.spyOn(Logger.prototype, 'warn');
      const wrong = await services.start({ runJobs: true });
      await wrong.queue.add('probe', { text: 'while right' });
      await eventually('it runs jobs', () => wrong.probe.ran('while right') === 1);
      setClock(wrong, wrongByMs);
      const isPaused = () =>
        warn.mock.calls.some(([fields]) => (fields as { event?: string }).event === 'jobs.paused');
      await eventually('it says that it runs no jobs', isPaused);
      await wrong.queue.add('probe', { text: 'while wrong' });
      const right = await services.start({ runJobs: true });
      await eventually('the other process runs it', () => right.probe.ran('while wrong') === 1);
      expect(wrong.probe.ran('while wrong')).toBe(0);
      await right.close();
      setClock(wrong, 0);
      await wrong.queue.add('probe', { text: 'right again' });
      await eventually('it runs jobs again', () => wrong.probe.ran('right again') === 1);
      warn.mockRestore();
    },
  );
});
