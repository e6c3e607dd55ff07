import { afterEach, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { DatabaseClock, LedgerClock } from '../../src/platform/database/ledger-clock.js';
import { sharedApp } from '../fixtures/shared-app.js';

describe('the ledger’s clock in a process', () => {
  const started: LedgerClock[] = [];
  afterEach(() => {
    for (const clock of started.splice(0)) clock.onModuleDestroy();
  });

  it.each([0, 86_400_000, -86_400_000])(
    'gives the database’s time without asking again, from a monotonic clock at %d',
    async (offsetMs) => {
      const database = new DatabaseClock((await sharedApp()).app.get(DataSource));
      let passedMs = 0;
      const own = { monotonicMs: () => performance.now() + offsetMs + passedMs };
      const clock = await LedgerClock.start(database, own);
      started.push(clock);
      const before = await database.nowMs();
      const read = clock.nowMs();
      const after = await database.nowMs();
      // Half of the round trip of the first reading, which a busy machine may make long.
      expect(read).toBeGreaterThan(before - 1_000);
      expect(read).toBeLessThan(after + 1_000);
      passedMs = 3_600_000;
      expect(clock.nowMs() - read).toBeGreaterThanOrEqual(3_600_000);
      expect(clock.nowMs() - read).toBeLessThan(3_700_000);
    },
  );
});
