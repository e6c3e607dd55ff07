import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { add, centsToMicros, micros } from '../../../platform/common/money.js';
import { DAY_MS } from '../../../platform/common/utc-time.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { DatabaseClock } from '../../../platform/database/database-clock.js';
import { TransactionRunner, type Tx } from '../../../platform/database/transaction-runner.js';
import type { TopUp } from '../top-up.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
  type FirstTopUps,
  type FullCount,
  type LimitScope,
} from './limit.errors.js';

/** Every request takes both locks in this order, so that none waits in a circle. */
const ACCOUNT_LOCK = 7_301;
const ADDRESS_LOCK = 7_302;
const LOCK = 'SELECT pg_advisory_xact_lock($1::int, hashtext($2))';

/** What never got a payment page (Stripe was away) is not counted: nobody could pay it. */
const OPENED = `client_address IS NOT NULL AND created_at > $3 AND NOT (status = 'failed' AND checkout_session_id IS NULL)`;

/**
 * Of the last day, counted from now backwards, the time of the first one that is too many; null when there is
 * none. The top-up that asks is among the pages.
 */
const COUNTS = `
  SELECT
    (SELECT created_at FROM top_ups WHERE account_id = $1 AND ${OPENED}
      ORDER BY created_at DESC OFFSET $4::int LIMIT 1) AS pages_account,
    (SELECT created_at FROM top_ups WHERE client_address = $2 AND ${OPENED}
      ORDER BY created_at DESC OFFSET $5::int LIMIT 1) AS pages_address,
    (SELECT failed_at FROM payment_failures WHERE account_id = $1 AND failed_at > $3
      ORDER BY failed_at DESC OFFSET $6::int - 1 LIMIT 1) AS failures_account,
    (SELECT failed_at FROM payment_failures WHERE client_address = $2 AND failed_at > $3
      ORDER BY failed_at DESC OFFSET $7::int - 1 LIMIT 1) AS failures_address`;

type Counts = Record<`${'pages' | 'failures'}_${LimitScope}`, Date | null>;

/** Play money earns no trust for real money. */
const IS_ESTABLISHED = `
  SELECT EXISTS (
    SELECT FROM top_ups WHERE account_id = $1 AND livemode = $2 AND status = 'paid' AND paid_at <= $3
  ) AS established`;

const FIRST_TOP_UPS = `
  SELECT count(*)::int AS count, coalesce(sum(credit_micros), 0)::text AS credit_micros, min(paid_at) AS first_paid_at
    FROM top_ups
   WHERE account_id = $1 AND livemode = $2 AND id <> $3
     AND status IN ('created', 'pending', 'processing', 'needs_review', 'paid')`;

/**
 * How much an account, or a network address, may try to buy. Counted in the database under a lock of each, so
 * the limits hold over any number of processes, requests at the same time, and restarts.
 */
@Injectable()
export class TopUpLimits {
  constructor(
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'topUpLimits'>,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly dataSource: DataSource,
  ) {}

  /**
   * Lets `write` store the top-up if the limits allow it, in one tx with the counting. Throws
   * `TooManyFailedPaymentsError`, `TooManyTopUpsError` or `FirstTopUpLimitError`, and what `write` throws; then
   * nothing is stored.
   */
  async admit(topUp: TopUp, write: (tx: Tx) => Promise<void>): Promise<void> {
    await this.transactions.run(
      async (tx) => {
        await tx.query(LOCK, [ACCOUNT_LOCK, topUp.accountId]);
        if (topUp.clientAddress !== null) await tx.query(LOCK, [ADDRESS_LOCK, topUp.clientAddress]);
        // First, because a repeated idempotency key has to be found before a full count refuses it.
        await write(tx);
        await this.assertCounts(tx, topUp);
        await this.assertFirstTopUps(tx, topUp);
      },
      { kind: 'account_key', accountId: topUp.accountId },
    );
  }

  /** Whose refused payments are as many as a day allows; null for nobody's. */
  async failuresFullFor(topUp: TopUp): Promise<LimitScope | null> {
    const counts = await this.count(this.dataSource, topUp);
    if (counts.failures_address !== null) return 'address';
    return counts.failures_account === null ? null : 'account';
  }

  private async assertCounts(tx: Tx, topUp: TopUp): Promise<void> {
    const { topUpLimits: max } = this.settings;
    const counts = await this.count(tx, topUp);
    const failures =
      this.full('account', max.failuresPerAccount, counts.failures_account, counts.nowMs) ??
      this.full('address', max.failuresPerAddress, counts.failures_address, counts.nowMs);
    if (failures !== null) throw new TooManyFailedPaymentsError(failures);
    const pages =
      this.full('account', max.perAccount, counts.pages_account, counts.nowMs) ??
      this.full('address', max.perAddress, counts.pages_address, counts.nowMs);
    if (pages !== null) throw new TooManyTopUpsError(pages);
  }

  private async count(
    tx: Tx | DataSource,
    { accountId, clientAddress }: TopUp,
  ): Promise<Counts & { readonly nowMs: number }> {
    const { topUpLimits: max } = this.settings;
    const nowMs = await this.clock.nowMs(tx);
    const since = new Date(nowMs - DAY_MS).toISOString();
    const [counts] = await tx.query<Counts[]>(COUNTS, [
      accountId,
      clientAddress,
      since,
      max.perAccount,
      max.perAddress,
      max.failuresPerAccount,
      max.failuresPerAddress,
    ]);
    if (counts === undefined) throw new Error('the limits were not counted');
    return { ...counts, nowMs };
  }

  private full(scope: LimitScope, max: number, at: Date | null, nowMs: number): FullCount | null {
    if (at === null) return null;
    return { scope, max, retryAt: new Date(at.getTime() + DAY_MS), now: new Date(nowMs) };
  }

  private async assertFirstTopUps(tx: Tx, topUp: TopUp): Promise<void> {
    const { firstMaxCents, firstMaxCount } = this.settings.topUpLimits;
    const dayAgo = new Date((await this.clock.nowMs(tx)) - DAY_MS).toISOString();
    const [row] = await tx.query<{ established: boolean }[]>(IS_ESTABLISHED, [
      topUp.accountId,
      topUp.livemode,
      dayAgo,
    ]);
    if (row?.established === true) return;
    const used = await this.firstTopUps(tx, topUp);
    const wantedMicros = add(used.creditMicros, topUp.creditMicros);
    if (used.count < firstMaxCount && wantedMicros <= centsToMicros(firstMaxCents)) return;
    throw new FirstTopUpLimitError(used, { firstMaxCents, firstMaxCount });
  }

  private async firstTopUps(tx: Tx, { accountId, livemode, id }: TopUp): Promise<FirstTopUps> {
    const [row] = await tx.query<{ count: number; credit_micros: string; first_paid_at: Date | null }[]>(
      FIRST_TOP_UPS,
      [accountId, livemode, id],
    );
    const firstPaidAt = row?.first_paid_at ?? null;
    return {
      count: row?.count ?? 0,
      creditMicros: micros(BigInt(row?.credit_micros ?? '0')),
      endsAt: firstPaidAt === null ? null : new Date(firstPaidAt.getTime() + DAY_MS),
    };
  }
}
