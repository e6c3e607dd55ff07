import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { add, centsToMicros, micros } from '../../../platform/common/money.js';
import { DAY_MS } from '../../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { DatabaseClock } from '../../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../../platform/database/transaction-runner.js';
import type { TopUp } from '../top-up.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
  type FirstTopUps,
  type FullCount,
  type LimitScope,
} from '../top-up.errors.js';

/** Every request takes both locks in this order, so that no two requests wait for each other. */
const ACCOUNT_LOCK = 7_301;
const ADDRESS_LOCK = 7_302;
const LOCK = 'SELECT pg_advisory_xact_lock($1::int, hashtext($2))';

/** A top-up that never got a payment page, because Stripe was unavailable, is not counted: no one could pay it. */
const OPENED = `client_address IS NOT NULL AND created_at > $3 AND NOT (status = 'failed' AND checkout_session_id IS NULL)`;

/**
 * For each limit, the time of the newest attempt of the last day that has to grow a day old before another one is
 * allowed; null while the limit is not reached. The top-up that is being checked counts among the pages.
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

/** Payments in test mode do not make an account established for live payments. */
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
 * Limits how much an account, or a network address, may try to buy. The attempts are counted in the database under a
 * lock of each, so the limits hold across processes, concurrent requests and restarts.
 */
@Injectable()
export class TopUpLimitsService {
  constructor(
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'topUpLimits'>,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly dataSource: DataSource,
  ) {}

  /**
   * Stores the top-up with `insert` if the limits allow it; both happen in one tx. Throws
   * `TooManyFailedPaymentsError`, `TooManyTopUpsError` or `FirstTopUpLimitError`, and what `insert` throws; then
   * nothing is stored.
   */
  async admit(topUp: TopUp, insert: (tx: Tx) => Promise<void>): Promise<void> {
    await this.transactions.run(
      async (tx) => {
        await this.lock(tx, topUp);
        // The row is written first, because a repeated idempotency key has to be found before a limit refuses it.
        await insert(tx);
        await this.assertAllowed(tx, topUp);
      },
      { kind: 'account_key', accountId: topUp.accountId },
    );
  }

  /** Makes the attempts of an account, and of a network address, wait for each other until the tx ends. */
  async lock(
    tx: Tx,
    { accountId, clientAddress }: Pick<TopUp, 'accountId' | 'clientAddress'>,
  ): Promise<void> {
    await tx.query(LOCK, [ACCOUNT_LOCK, accountId]);
    if (clientAddress !== null) await tx.query(LOCK, [ADDRESS_LOCK, clientAddress]);
  }

  /** Throws when a limit refuses the top-up that this tx has stored. The caller called `lock` before. */
  async assertAllowed(tx: Tx, topUp: TopUp): Promise<void> {
    await this.assertCounts(tx, topUp);
    await this.assertFirstTopUps(tx, topUp);
  }

  /** Whether the address or the account has reached its refused payments of a day; null when neither has. */
  async findFailureLimitReached(topUp: TopUp): Promise<LimitScope | null> {
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
