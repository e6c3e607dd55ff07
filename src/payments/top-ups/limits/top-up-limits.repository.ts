import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { micros } from '../../../platform/common/money.js';
import { DAY_MS } from '../../../platform/common/clock.js';
import type { TopUpLimitSettings } from '../../../platform/config/settings.js';
import type { Tx } from '../../../platform/database/transaction-runner.js';
import type { TopUp } from '../top-up.js';
import { TopUpEntity } from '../top-up.entity.js';
import type { FirstTopUps, LimitScope } from '../top-up.errors.js';
import { PaymentFailureEntity } from './payment-failure.entity.js';

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

export type LimitCounts = Record<`${'pages' | 'failures'}_${LimitScope}`, Date | null>;

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

/** Counts payment pages, refused cards and first top-ups in `top_ups` and `payment_failures`, under locks of account and address. */
@Injectable()
export class TopUpLimitsRepository {
  constructor(
    @InjectRepository(PaymentFailureEntity) private readonly failures: Repository<PaymentFailureEntity>,
    @InjectRepository(TopUpEntity) private readonly topUps: Repository<TopUpEntity>,
    private readonly dataSource: DataSource,
  ) {}

  /** Makes the attempts of an account, and of a network address, wait for each other until the tx ends. */
  async lock(
    tx: Tx,
    { accountId, clientAddress }: Pick<TopUp, 'accountId' | 'clientAddress'>,
  ): Promise<void> {
    await tx.query(LOCK, [ACCOUNT_LOCK, accountId]);
    if (clientAddress !== null) await tx.query(LOCK, [ADDRESS_LOCK, clientAddress]);
  }

  /** @param tx null reads outside of a tx. */
  async count(
    tx: Tx | null,
    { accountId, clientAddress }: TopUp,
    max: TopUpLimitSettings,
    nowMs: number,
  ): Promise<LimitCounts> {
    const since = new Date(nowMs - DAY_MS).toISOString();
    const [counts] = await (tx ?? this.dataSource).query<LimitCounts[]>(COUNTS, [
      accountId,
      clientAddress,
      since,
      max.perAccount,
      max.perAddress,
      max.failuresPerAccount,
      max.failuresPerAddress,
    ]);
    if (counts === undefined) throw new Error('the limits were not counted');
    return counts;
  }

  /** Whether the account has paid a top-up of this mode before `before`. */
  async isEstablished(tx: Tx, { accountId, livemode }: TopUp, before: Date): Promise<boolean> {
    const [row] = await tx.query<{ established: boolean }[]>(IS_ESTABLISHED, [
      accountId,
      livemode,
      before.toISOString(),
    ]);
    return row?.established === true;
  }

  /** Counts the other top-ups of an account that is not established. */
  async countFirstTopUps(tx: Tx, { accountId, livemode, id }: TopUp): Promise<FirstTopUps> {
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

  /** Stores a refused card once, however often it is reported. */
  async addFailure(failure: PaymentFailureEntity): Promise<void> {
    await this.failures.createQueryBuilder().insert().values(failure).orIgnore().execute();
  }

  /** Finds payment pages that are open for the account, or for the network address when that is the scope. */
  findOpenPages(
    { accountId, clientAddress, livemode }: TopUp,
    scope: LimitScope,
    limit: number,
  ): Promise<readonly TopUp[]> {
    const owner = scope === 'address' && clientAddress !== null ? { clientAddress } : { accountId };
    return this.topUps.find({ where: { ...owner, livemode, status: 'pending' }, take: limit });
  }
}
