import { Injectable } from '@nestjs/common';
import { InjectDataSource } from '@nestjs/typeorm';
import type { PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import { recordAudit } from '../../../identity/audit-log/audit-event.js';
import { addJobs } from '../../../platform/jobs/job-queue.js';
import { isLockTimeout } from '../../../platform/database/constraints.js';
import { DatabaseClock } from '../../../platform/database/ledger-clock.js';
import { ENGINE_DATA_SOURCE } from '../../../platform/database/data-source.js';
import { ENGINE_VERSION, ENGINE_VERSION_SETTING } from '../../../platform/database/engine-version.js';
import {
  PacketDeadline,
  PacketTimeoutError,
  runTogether,
  type Statement,
  type StatementCall,
} from '../../../platform/database/pipeline.js';
import { applyBatch, type Result } from '../rules/batch.js';
import type { WalletCommand } from '../rules/command.js';
import { toSignalJobs } from '../signal-jobs.js';
import { lockAndLoad, type Loaded } from './load.js';
import { toWriteCall } from './write.js';

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
 * How long a batch waits for the one wallet that it may wait for, and for a table that a migration has locked, after which it is
 * tried again. This is longer than any batch of another process takes.
 */
const LOCK_TIMEOUT_MS = 200;
/** A batch idles between its two packets, for one iteration of the event loop. A process that is paused there loses its locks. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 1_000;

/**
 * A plan must not depend on how small a table was when the connection first used it, and planning must not be
 * repeated for every batch. Each statement looks rows up by key, so one generic plan is right for all batches,
 * and a sequential scan never is.
 *
 * The settings last as long as the connection: setting them in every batch and resetting them at its end was a sixth of what
 * a batch of one command costs the server. Without the version, the database lets the connection write no money (ADR 35).
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

/** A migration has locked a table that the batch reads. Locked rows are skipped, so no command of the batch is the cause. */
export class TableLockedError extends Error {
  constructor(cause: unknown) {
    super('A table of the ledger is locked.', { cause });
  }
}

/** Another session has locked the wallet, or it was created only now: the command has to be tried again. */
export type Undecided = null;

/** Runs one batch of commands in one tx: lock, load, decide, write, commit. It decides nothing itself. */
@Injectable()
export class WalletStore {
  private readonly configured = new WeakSet<PoolClient>();
  private readonly deadline = new PacketDeadline();

  /** @param dataSource nothing else should use its connections, because their settings are those that batches need. */
  constructor(
    @InjectDataSource(ENGINE_DATA_SOURCE) private readonly dataSource: DataSource,
    private readonly clock: DatabaseClock,
  ) {}

  /**
   * Resolves after COMMIT with a result for each command. Rejects with the error of the database; then nothing was committed, or
   * (when the answer to COMMIT was lost) everything.
   *
   * @param waitFor an account whose wallet is waited for, up to the lock timeout. No other wallet is.
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
    const { accounts, locations, now } = await load(send, accountIds, commands, waitFor);
    const missing = accountIds.filter((id) => !accounts.has(id));
    const decided =
      missing.length === 0 ? commands : commands.filter(({ accountId }) => accounts.has(accountId));
    // `now` comes with the locked wallets. Without any of them there is nothing to decide.
    const nowMs = now === undefined ? 0 : this.clock.read(now);
    const dated = decided.map((command) => withLedgerTime(command, nowMs));
    const { results, writes } = applyBatch(accounts, dated, nowMs);
    const finding = missing.length === 0 ? [] : [{ statement: FIND_WALLETS, values: [missing] }];
    // COMMIT is sent in the same packet as the writes; the server does not run it after one that fails.
    const answers = await send([
      ...finding,
      ...toWriteCall(writes, locations),
      ...(writes.signals.length === 0 ? [] : addJobs(toSignalJobs(writes, nowMs))),
      ...(writes.auditEvents.length === 0 ? [] : recordAudit(writes.auditEvents)),
      COMMIT,
    ]);
    if (missing.length === 0) return results;
    const unknown = await createMissingWallets(send, excludeFound(missing, answers[0]));
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

/** An attempt is compared with holds, which have the time of the ledger's clock. The clock of this process may differ. */
function withLedgerTime(command: WalletCommand, nowMs: number): WalletCommand {
  if (command.type !== 'authorize' || command.attempt == null) return command;
  const { attempt } = command;
  const beganAtMs = nowMs - (performance.now() - attempt.beganAtMonotonicMs);
  return { ...command, attempt: { ...attempt, beganAtMs } };
}

type Send = (calls: readonly StatementCall[]) => ReturnType<typeof runTogether>;

const NO_ACCOUNT: Result = { accepted: false, rejection: { code: 'account_not_found' } };

/** When the wallet that is waited for is not released in time, the batch goes on with the wallets that are free. */
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
 * Creates the wallets that do not exist yet, in a tx of their own: an insert may wait for the insert of another process, and a
 * batch that holds locks must not wait. Returns the ids that belong to no account.
 */
async function createMissingWallets(send: Send, accountIds: readonly string[]): Promise<ReadonlySet<string>> {
  if (accountIds.length === 0) return new Set();
  const values = [accountIds];
  const calls = [CREATE_WALLETS, FIND_ACCOUNTS].map((statement) => ({ statement, values }));
  try {
    const [, found] = await send(calls);
    return new Set(excludeFound(accountIds, found));
  } catch {
    // The rest of the batch is committed and has to be answered. These commands are tried again.
    return new Set();
  }
}

function excludeFound(ids: readonly string[], rows: readonly Record<string, unknown>[] = []): string[] {
  const found = new Set(rows.map((row) => row['account_id']));
  return ids.filter((id) => !found.has(id));
}
