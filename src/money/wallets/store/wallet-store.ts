import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import type { PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import { recordAudit } from '../../../identity/audit-log/audit-event.js';
import { isLockTimeout } from '../../../platform/database/constraints.js';
import { DatabaseClock } from '../../../platform/database/ledger-clock.js';
import { ENGINE_DATA_SOURCE } from '../../../platform/database/data-source.js';
import { ENGINE_VERSION, ENGINE_VERSION_SETTING } from '../../../platform/database/engine-version.js';
import {
  PacketTimeoutError,
  runTogether,
  type Statement,
  type StatementCall,
  PacketDeadline,
} from '../../../platform/database/pipeline.js';
import { applyBatch, type Result } from '../rules/batch.js';
import type { WalletCommand } from '../rules/command.js';
import { lockAndLoad, type Loaded } from './load.js';
import { jobsFor } from './signal-jobs.js';
import { writesOf } from './write.js';

/** An account's wallet row is made by its first command. */
const CREATE_WALLETS: Statement = {
  name: 'create_wallets',
  text: `
  INSERT INTO wallets (account_id) SELECT id FROM accounts WHERE id = ANY($1::text[]) ORDER BY id
  ON CONFLICT DO NOTHING`,
};
const FIND_WALLETS: Statement = {
  name: 'find_wallets',
  text: 'SELECT account_id FROM wallets WHERE account_id = ANY($1::text[])',
};
const FIND_ACCOUNTS: Statement = {
  name: 'find_accounts',
  text: 'SELECT id AS account_id FROM accounts WHERE id = ANY($1::text[])',
};

/**
 * For the one wallet that a batch may wait for, and for what else is rarely locked: a table by a migration. A batch that
 * runs into it is tried again. Longer than any batch of another process takes.
 */
const LOCK_TIMEOUT_MS = 200;
/** A batch idles between its two packets, for a turn of the event loop. A process that stands still there loses its locks. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 1_000;

/**
 * A plan must not depend on how small a table was when the connection first met it, and planning must not be
 * repeated for every batch: each statement looks rows up by key, so one generic plan is right for all of them,
 * and a sequential scan never is.
 *
 * Set for as long as the connection lives: setting them in every batch, and taking them back at its end, was a sixth of what
 * a batch of one costs the server. The version is what lets the connection write money at all (ADR 35).
 */
const CONNECTION_SETTINGS: Statement = {
  name: 'engine_settings',
  text: `
  SELECT set_config('enable_seqscan', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false),
         set_config('lock_timeout', '${LOCK_TIMEOUT_MS}ms', false),
         set_config('idle_in_transaction_session_timeout', '${IDLE_IN_TRANSACTION_TIMEOUT_MS}ms', false),
         set_config('${ENGINE_VERSION_SETTING}', '${ENGINE_VERSION}', false)`,
};

const BEGIN: StatementCall = { statement: { name: 'begin', text: 'BEGIN' } };
const COMMIT: StatementCall = { statement: { name: 'commit', text: 'COMMIT' } };
const ROLLBACK: StatementCall = { statement: { name: 'rollback', text: 'ROLLBACK' } };

/** A migration holds a table that the batch reads. Rows that are locked are left out, so no command is to blame. */
export class TableLockedError extends Error {
  constructor(cause: unknown) {
    super('A table of the ledger is locked.', { cause });
  }
}

/** The wallet is locked by somebody else, or was only just made: the command is to be tried again. */
export type Undecided = null;

/** Runs one batch of commands in one tx: lock, load, decide, write, commit. It decides nothing itself. */
@Injectable()
export class WalletStore {
  private readonly configured = new WeakSet<PoolClient>();
  private readonly deadline = new PacketDeadline();

  /** @param dataSource whose connections nothing else should use: they plan as batches need it. */
  constructor(
    @InjectDataSource(ENGINE_DATA_SOURCE) private readonly dataSource: DataSource,
    private readonly clock: DatabaseClock,
  ) {}

  /**
   * Answers after COMMIT, a result for each command. Throws what the database throws; then nothing, or (after a lost COMMIT)
   * all, was kept.
   *
   * @param waitFor an account whose wallet is waited for, for a moment. No other is.
   */
  async run(
    commands: readonly WalletCommand[],
    waitFor: string | null = null,
  ): Promise<readonly (Result | Undecided)[]> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = (await runner.connect()) as PoolClient;
      const send: Send = (calls) => this.send(client, calls);
      try {
        if (!this.configured.has(client)) await send([{ statement: CONNECTION_SETTINGS }]);
        this.configured.add(client);
        return await this.decide(send, commands, waitFor);
      } catch (error) {
        await send([ROLLBACK]).catch(() => undefined);
        throw error;
      }
    } finally {
      await runner.release();
    }
  }

  private async decide(
    send: Send,
    commands: readonly WalletCommand[],
    waitFor: string | null,
  ): Promise<readonly (Result | Undecided)[]> {
    const accountIds = [...new Set(commands.map((command) => command.accountId))];
    const { accounts, places, now } = await load(send, accountIds, commands, waitFor);
    const missing = accountIds.filter((id) => !accounts.has(id));
    const decided =
      missing.length === 0 ? commands : commands.filter(({ accountId }) => accounts.has(accountId));
    // Without a wallet there is nothing to decide.
    const nowMs = now === undefined ? 0 : this.clock.read(now);
    const dated = decided.map((command) => datedByLedger(command, nowMs));
    const { results, writes } = applyBatch(accounts, dated, nowMs);
    const finding = missing.length === 0 ? [] : [{ statement: FIND_WALLETS, values: [missing] }];
    // COMMIT travels right behind the writes; had they failed, it would not be run.
    const answers = await send([
      ...finding,
      ...writesOf(writes, places),
      ...jobsFor(writes, nowMs),
      ...recordAudit(writes.auditEvents),
      COMMIT,
    ]);
    if (missing.length === 0) return results;
    const unknown = await withoutAccount(send, without(missing, answers[0]));
    let next = 0;
    return commands.map(({ accountId }) => {
      if (accounts.has(accountId)) return results[next++] ?? null;
      return unknown.has(accountId) ? NO_ACCOUNT : null;
    });
  }

  private async send(client: PoolClient, calls: readonly StatementCall[]): ReturnType<typeof runTogether> {
    const startedAtMs = performance.now();
    try {
      const answers = await runTogether(client, calls, this.deadline.ms);
      this.deadline.met(performance.now() - startedAtMs);
      return answers;
    } catch (error) {
      if (error instanceof PacketTimeoutError) this.deadline.missed();
      throw error;
    }
  }
}

/** An attempt is compared with holds, which the ledger's clock dates; this process's may be another. */
function datedByLedger(command: WalletCommand, nowMs: number): WalletCommand {
  if (command.type !== 'authorize' || command.attempt == null) return command;
  const { attempt } = command;
  const beganAtMs = nowMs - (performance.now() - attempt.beganAtMonotonicMs);
  return { ...command, attempt: { ...attempt, beganAtMs } };
}

type Send = (calls: readonly StatementCall[]) => ReturnType<typeof runTogether>;

const NO_ACCOUNT: Result = { accepted: false, rejection: { code: 'account_not_found' } };

/** Where the wallet that is waited for does not come free, what else is free is taken. */
async function load(
  send: Send,
  accountIds: readonly string[],
  commands: readonly WalletCommand[],
  waitFor: string | null,
): Promise<Loaded> {
  try {
    return await lockAndLoad(send, BEGIN, accountIds, commands, waitFor);
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    if (waitFor === null) throw new TableLockedError(error);
    await send([ROLLBACK]);
    return load(send, accountIds, commands, null);
  }
}

/**
 * Makes the wallets that do not exist yet, in a tx of their own: an insert may wait for another process's, which nobody may
 * do who holds a lock. Answers the ids that are no account's.
 */
async function withoutAccount(send: Send, accountIds: readonly string[]): Promise<ReadonlySet<string>> {
  if (accountIds.length === 0) return new Set();
  const values = [accountIds];
  const calls = [CREATE_WALLETS, FIND_ACCOUNTS].map((statement) => ({ statement, values }));
  try {
    const [, found] = await send(calls);
    return new Set(without(accountIds, found));
  } catch {
    // The rest of the batch is committed and has to be answered; these are tried again.
    return new Set();
  }
}

function without(ids: readonly string[], rows: readonly Record<string, unknown>[] = []): string[] {
  const found = new Set(rows.map((row) => row['account_id']));
  return ids.filter((id) => !found.has(id));
}
