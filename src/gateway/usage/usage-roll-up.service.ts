import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { ModelUsageService, type HourOfModel } from '../catalog/ranking/model-usage.service.js';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { USAGE_LIMITS, type UsageLimits } from './usage-limits.js';
import { chargesSql, DIMENSIONS, unpaidCallsSql } from './usage-parts.js';

type Unpaid = { readonly account_id: string; readonly generation_id: string };
/** `seq` is the length of the account's ledger; `pending` is how many of its rows are not added up yet. */
type Outdated = { readonly account_id: string; readonly seq: string; readonly pending: string };

/** Selects accounts with transfers that are not added up yet, ordered by id so that each pass ends. The wallet knows the ledger's length. */
const FIND_OUTDATED = `
  SELECT w.account_id, w.seq, w.seq - coalesce(p.seq, 0) AS pending
    FROM wallets w LEFT JOIN usage_progress p ON p.account_id = w.account_id
   WHERE w.account_id > $1 AND w.account_id <> $2 AND w.seq > coalesce(p.seq, 0)
   ORDER BY w.account_id LIMIT $3`;

const MAKE_PROGRESS_ROWS = `
  INSERT INTO usage_progress (account_id) SELECT unnest($1::text[]) ON CONFLICT (account_id) DO NOTHING`;

/** Makes two processes add up the same account one after the other. */
const LOCK_PROGRESS = `
  SELECT account_id FROM usage_progress WHERE account_id = ANY($1::text[]) ORDER BY account_id FOR UPDATE`;

/** Adds to the existing sums. The rows are ordered, so that two processes wait for each other and never deadlock. */
const ADD_DAYS = `
  INSERT INTO usage_days AS d (${DIMENSIONS}, calls, images, charged_micros)
  SELECT ${DIMENSIONS}, sum(calls), sum(images), sum(charged_micros) FROM parts
   GROUP BY ${DIMENSIONS} ORDER BY ${DIMENSIONS}
  ON CONFLICT ON CONSTRAINT usage_days_pkey DO UPDATE
     SET calls = d.calls + excluded.calls, images = d.images + excluded.images,
         charged_micros = d.charged_micros + excluded.charged_micros`;

/** Counts delivered images of the images API over all accounts, for the ranking. */
const SUM_HOURS = `
  SELECT hour, model, sum(images) AS images FROM parts WHERE source = 'images_api' AND images > 0
   GROUP BY hour, model ORDER BY hour, model`;

/**
 * Writes the sums and the progress in one statement, so that both are committed or neither. A row of `due` is the range from the
 * account's current progress to the next one.
 */
const ADD_CHARGES = `
  WITH due AS MATERIALIZED (
    SELECT p.account_id, p.seq AS after, least(f.seq, p.seq + $3) AS until
      FROM usage_progress p JOIN unnest($1::text[], $2::bigint[]) AS f (account_id, seq) ON f.account_id = p.account_id
     WHERE f.seq > p.seq),
  parts AS MATERIALIZED (SELECT c.* FROM due CROSS JOIN LATERAL (
    ${chargesSql('t.account_id = due.account_id AND t.seq > due.after AND t.seq <= due.until')}) c),
  days AS (${ADD_DAYS}),
  moved AS (UPDATE usage_progress p SET seq = due.until FROM due WHERE p.account_id = due.account_id)
  ${SUM_HOURS}`;

/** Takes calls that no other process is taking, so that several processes can share the work. */
const TAKE_UNPAID = `
  WITH due AS MATERIALIZED (
    SELECT account_id, generation_id FROM usage_queue ORDER BY account_id, generation_id LIMIT $1 FOR UPDATE SKIP LOCKED)
  DELETE FROM usage_queue q USING due WHERE q.account_id = due.account_id AND q.generation_id = due.generation_id
  RETURNING q.account_id, q.generation_id`;

const ADD_UNPAID = `
  WITH parts AS MATERIALIZED (${unpaidCallsSql('unnest($1::text[], $2::text[]) AS q (account_id, generation_id)')}),
  days AS (${ADD_DAYS})
  ${SUM_HOURS}`;

/**
 * Adds up usage, counting everything exactly once. Each tx adds charges and moves the progress of their account past them, or adds the
 * calls that it takes out of the queue. So nothing is omitted or counted twice when the process is killed, the work is repeated, or
 * several processes run it concurrently. Nothing depends on a clock: a ledger numbers its rows in the order of their commits, and a
 * call is queued by the commit that ends it.
 */
@Injectable()
export class UsageRollUpService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    private readonly models: ModelUsageService,
    @Inject(USAGE_LIMITS) private readonly limits: UsageLimits,
  ) {}

  /** Throws what the database throws. What was added up until then stays. */
  async catchUp(signal?: AbortSignal): Promise<void> {
    const endsAtMs = performance.now() + this.limits.runSecondsMax * 1_000;
    const mayGoOn = (): boolean => performance.now() < endsAtMs && signal?.aborted !== true;
    while (mayGoOn() && (await this.addUnpaid()));
    while (mayGoOn() && (await this.addDueCharges(mayGoOn)));
  }

  /** Goes through all accounts with pending transfers once. Returns whether one of them has more of them than one batch takes. */
  private async addDueCharges(mayGoOn: () => boolean): Promise<boolean> {
    const { accountsPerBatch, transfersPerAccount } = this.limits;
    let after = '';
    for (let more = false; ;) {
      const parameters = [after, PLATFORM_ACCOUNT_ID, accountsPerBatch];
      const found = await this.dataSource.query<Outdated[]>(FIND_OUTDATED, parameters);
      for (const batch of this.inBatches(found)) {
        if (!mayGoOn()) return true;
        await this.addCharges(batch);
      }
      more ||= found.some(({ pending }) => Number(pending) > transfersPerAccount);
      after = found.at(-1)?.account_id ?? '';
      if (found.length < accountsPerBatch) return more;
    }
  }

  private inBatches(found: readonly Outdated[]): Outdated[][] {
    const { transfersPerAccount, transfersPerBatch } = this.limits;
    const batches: Outdated[][] = [];
    let transfers = transfersPerBatch;
    for (const account of found) {
      if (transfers >= transfersPerBatch) {
        batches.push([]);
        transfers = 0;
      }
      batches.at(-1)?.push(account);
      transfers += Math.min(Number(account.pending), transfersPerAccount);
    }
    return batches;
  }

  private async addCharges(accounts: readonly Outdated[]): Promise<void> {
    const ids = accounts.map(({ account_id: id }) => id);
    await this.transactions.run(async (tx) => {
      await tx.query(MAKE_PROGRESS_ROWS, [ids]);
      await tx.query(LOCK_PROGRESS, [ids]);
      const lengths = accounts.map(({ seq }) => seq);
      await this.add(tx, ADD_CHARGES, [ids, lengths, this.limits.transfersPerAccount]);
    });
  }

  /** Returns whether there may be more. */
  private async addUnpaid(): Promise<boolean> {
    const { callsPerBatch } = this.limits;
    return this.transactions.run(async (tx) => {
      const [calls] = await tx.query<[Unpaid[], number]>(TAKE_UNPAID, [callsPerBatch]);
      if (calls.length > 0) {
        const ids = [calls.map((call) => call.account_id), calls.map((call) => call.generation_id)];
        await this.add(tx, ADD_UNPAID, ids);
      }
      return calls.length === callsPerBatch;
    });
  }

  private async add(tx: Tx, statement: string, values: unknown[]): Promise<void> {
    const hours = await tx.query<{ hour: Date; model: string; images: string }[]>(statement, values);
    await this.models.add(
      tx,
      hours.map(({ hour, model, images }): HourOfModel => ({ hour, model, images: BigInt(images) })),
    );
  }
}
