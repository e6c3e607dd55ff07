import { Inject, Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import type { PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import { CLOCK, type Clock } from '../../common/clock.js';
import { ENGINE_DATA_SOURCE } from '../../database/data-source.js';
import { runTogether, type Statement, type StatementCall } from '../../database/pipeline.js';
import { applyBatch, type Result } from '../rules/batch.js';
import type { WalletCommand } from '../rules/command.js';
import { lockAndLoad } from './load.js';
import { jobsFor } from './signal-jobs.js';
import { writesOf } from './write.js';

/** An account's wallet row is made by its first command. */
const CREATE_WALLETS: Statement = {
  name: 'create_wallets',
  text: `
  INSERT INTO wallets (account_id) SELECT id FROM accounts WHERE id = ANY($1::text[]) ORDER BY id
  ON CONFLICT DO NOTHING`,
};

/** Longer than any batch of another process takes; a lock held longer is stuck, and callers get a 503. */
const LOCK_TIMEOUT_MS = 10_000;

/**
 * A plan must not depend on how small a table was when the connection first met it, and planning must not be
 * repeated for every batch: each statement looks rows up by key, so one generic plan is right for all of them,
 * and a sequential scan never is.
 *
 * Set for as long as the connection lives: setting them in every batch, and taking them back at its end, was a sixth of what
 * a batch of one costs the server.
 */
const CONNECTION_SETTINGS: Statement = {
  name: 'engine_settings',
  text: `
  SELECT set_config('enable_seqscan', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false),
         set_config('lock_timeout', '${LOCK_TIMEOUT_MS}ms', false)`,
};

const BEGIN: StatementCall = { statement: { name: 'begin', text: 'BEGIN' } };
const COMMIT: StatementCall = { statement: { name: 'commit', text: 'COMMIT' } };

/** Runs one batch of commands in one tx: lock, load, decide, write, commit. It decides nothing itself. */
@Injectable()
export class WalletStore {
  private readonly configured = new WeakSet<PoolClient>();

  /** @param dataSource whose connections nothing else should use: they plan as batches need it. */
  constructor(
    @InjectDataSource(ENGINE_DATA_SOURCE) private readonly dataSource: DataSource,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** Answers after COMMIT. Throws what the database throws; then nothing, or (after a lost COMMIT) all, was kept. */
  async run(commands: readonly WalletCommand[]): Promise<readonly Result[]> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = (await runner.connect()) as PoolClient;
      try {
        await this.configure(client);
        const { accounts, places } = await this.load(client, commands);
        const nowMs = this.clock.nowMs();
        const { results, writes } = applyBatch(accounts, commands, nowMs);
        // COMMIT travels right behind the writes; had they failed, it would not be run.
        await runTogether(client, [...writesOf(writes, places), ...jobsFor(writes, nowMs), COMMIT]);
        return results;
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    } finally {
      await runner.release();
    }
  }

  private async configure(client: PoolClient): Promise<void> {
    if (this.configured.has(client)) return;
    await runTogether(client, [{ statement: CONNECTION_SETTINGS }]);
    this.configured.add(client);
  }

  private async load(client: PoolClient, commands: readonly WalletCommand[]): ReturnType<typeof lockAndLoad> {
    const accountIds = [...new Set(commands.map((command) => command.accountId))];
    const loaded = await lockAndLoad(client, BEGIN, accountIds, commands);
    if (loaded.accounts.size === accountIds.length) return loaded;
    // Made in a tx of their own: inserting while other wallets are locked would break the lock order.
    await client.query('ROLLBACK');
    await runTogether(client, [{ statement: CREATE_WALLETS, values: [accountIds] }]);
    return lockAndLoad(client, BEGIN, accountIds, commands);
  }
}
