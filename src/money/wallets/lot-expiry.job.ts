import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { JobRegistry, type Job } from '../../platform/jobs/job-queue.js';
import { executeAll, throwFirst } from './execute-all.js';
import { WalletEngine } from './wallet-engine.js';

const PAGE = 500;
const PAGES_MAX = 100;

/** Wallets with a lapsed lot that is not wholly reserved: the others have nothing to post yet. */
const FIND_DUE = `
  SELECT DISTINCT l.account_id FROM credit_lots l JOIN wallets w ON w.account_id = l.account_id
   WHERE l.live AND l.expires_at <= $1 AND w.posted_micros + w.debt_micros > w.held_micros AND l.account_id > $2
   ORDER BY l.account_id LIMIT ${PAGE}`;

/**
 * Posts what has lapsed. Spending never waits for it: every command posts the expiry that is due before it
 * decides. This keeps the books of quiet wallets true.
 */
@Injectable()
export class LotExpiryJob implements Job {
  readonly name = 'lot_expiry';
  readonly crontab = '* * * * *';

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    private readonly clock: DatabaseClock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    let after = '';
    const failures: Error[] = [];
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const now = new Date(await this.clock.nowMs()).toISOString();
      const due = await this.dataSource.query<{ account_id: string }[]>(FIND_DUE, [now, after]);
      const commands = due.map(
        (row) => ({ type: 'expireLots', accountId: row.account_id, actor: 'system' }) as const,
      );
      failures.push(...(await executeAll(this.engine, commands)));
      after = due.at(-1)?.account_id ?? after;
      if (due.length < PAGE) break;
    }
    throwFirst(failures);
  }
}
