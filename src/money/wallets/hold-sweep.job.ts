import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { JobRegistry, type Job } from '../../platform/jobs/job-queue.js';
import { executeAll, throwFirst } from './execute-all.js';
import { WalletEngine } from './wallet-engine.js';

/** One engine batch or two; the next page is read after these are released. */
const PAGE = 500;
/** A run that finds more leaves the rest to the next minute, so that a backlog never starves other jobs. */
const PAGES_MAX = 100;

/**
 * Holds of our own image calls are left alone: their call may still be running, and only the module that
 * runs it knows. Its recovery job captures or voids them (`src/gateway/images/calls/recovery/`).
 */
const FIND_DUE = `
  SELECT account_id, id FROM holds
   WHERE status = 'authorized' AND expires_at <= $1 AND reference NOT LIKE 'generation:%'
   ORDER BY expires_at LIMIT ${PAGE}`;

/** Releases the holds that an outside gateway never captured or voided. */
@Injectable()
export class HoldSweepJob implements Job {
  readonly name = 'hold_sweep';
  readonly crontab = '* * * * *';

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    private readonly clock: DatabaseClock,
  ) {
    registry.register(this);
  }

  /** The engine decides each hold again under its lock, so a capture that came first wins. */
  async run(): Promise<void> {
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const now = new Date(await this.clock.nowMs()).toISOString();
      const due = await this.dataSource.query<{ account_id: string; id: string }[]>(FIND_DUE, [now]);
      const commands = due.map(
        ({ account_id: accountId, id: holdId }) =>
          ({ type: 'expireHold', accountId, actor: 'system', holdId }) as const,
      );
      throwFirst(await executeAll(this.engine, commands));
      if (due.length < PAGE) return;
    }
  }
}
