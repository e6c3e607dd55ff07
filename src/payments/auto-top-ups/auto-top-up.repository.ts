import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, Repository } from 'typeorm';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { TopUpEntity } from '../top-ups/top-up.entity.js';
import { OPEN_STATUSES } from '../top-ups/top-up.machine.js';
import type { TopUp } from '../top-ups/top-up.js';
import { AutoTopUpConsentEntity, AutoTopUpEntity } from './auto-top-up.entity.js';
import { chargeFingerprint, type AutoTopUp, type AutoTopUpConsent, type SavedCard } from './auto-top-up.js';
import { dayStartMs, monthStartMs, type AutoTopUpUsage } from './auto-top-up.rules.js';
import { SavedCardEntity } from './saved-card.entity.js';

/** Charges count for the day and the month in which they were started. Failed ones took nothing and do not count. */
const USAGE = `
  SELECT count(*) FILTER (WHERE taken AND created_at >= $3)::int AS day_count,
         coalesce(sum(charge_cents) FILTER (WHERE taken AND created_at >= $3), 0)::text AS day_cents,
         count(*) FILTER (WHERE taken)::int AS month_count,
         coalesce(sum(charge_cents) FILTER (WHERE taken), 0)::text AS month_cents
    FROM (SELECT created_at, charge_cents, status NOT IN ('failed', 'expired') AS taken FROM top_ups
           WHERE account_id = $1 AND livemode = $2 AND kind = 'auto' AND created_at >= $4) charges`;

const LAST_STARTED = `
  SELECT max(created_at) AS at FROM top_ups
   WHERE account_id = $1 AND livemode = $2 AND kind = 'auto' AND failure_code IS DISTINCT FROM 'withdrawn'`;

const DECLINES_IN_A_ROW = `
  SELECT count(*)::int AS count FROM top_ups
   WHERE account_id = $1 AND livemode = $2 AND kind = 'auto' AND status = 'failed'
     AND failure_code IN ('card_declined', 'authentication_required') AND fingerprint = $3
     AND created_at > coalesce((SELECT max(created_at) FROM top_ups
                                 WHERE account_id = $1 AND livemode = $2 AND kind = 'auto' AND status = 'paid'), '-infinity')`;

type Row<Members extends string> = Record<Members, string>;

/** The rows of auto top-up: the settings, consents and saved cards of each account, and its charges. */
@Injectable()
export class AutoTopUpRepository {
  constructor(
    @InjectRepository(AutoTopUpEntity) private readonly rows: Repository<AutoTopUpEntity>,
    @InjectRepository(AutoTopUpConsentEntity) private readonly consents: Repository<AutoTopUpConsentEntity>,
    @InjectRepository(SavedCardEntity) private readonly cards: Repository<SavedCardEntity>,
    @InjectRepository(TopUpEntity) private readonly topUps: Repository<TopUpEntity>,
  ) {}

  find(accountId: string, livemode: boolean): Promise<AutoTopUp | null> {
    return this.rows.findOneBy({ accountId, livemode });
  }

  /** Locks the row until the tx ends, so that starts, dispatches and changes of settings of an account never overlap. */
  lock(tx: Tx, accountId: string, livemode: boolean): Promise<AutoTopUp | null> {
    const lock = { mode: 'pessimistic_write' } as const;
    return tx.findOne(AutoTopUpEntity, { where: { accountId, livemode }, lock });
  }

  async update(tx: Tx, { accountId, livemode }: AutoTopUp, changes: Partial<AutoTopUp>): Promise<void> {
    await tx.update(AutoTopUpEntity, { accountId, livemode }, changes);
  }

  /** Inserts the row unless the account already has one. */
  async insert(tx: Tx, autoTopUp: AutoTopUp): Promise<void> {
    await tx
      .createQueryBuilder()
      .insert()
      .into(AutoTopUpEntity)
      .values({ ...autoTopUp })
      .orIgnore()
      .execute();
  }

  async recordConsent(tx: Tx, consent: AutoTopUpConsent): Promise<void> {
    await tx.insert(AutoTopUpConsentEntity, { ...consent });
  }

  lastConsent(accountId: string, livemode: boolean): Promise<AutoTopUpConsent | null> {
    return this.consents.findOne({ where: { accountId, livemode }, order: { revision: 'DESC' } });
  }

  card(accountId: string, id: string): Promise<SavedCard | null> {
    return this.cards.findOneBy({ accountId, id });
  }

  /** The card that was saved last, among those that can be charged. */
  newestCard(accountId: string, livemode: boolean): Promise<SavedCard | null> {
    return this.cards.findOne({
      where: { accountId, livemode, detachedAt: IsNull() },
      order: { consentedAt: 'DESC', id: 'DESC' },
    });
  }

  /** The charge that is under way. There is at most one. */
  openCharge(accountId: string, livemode: boolean): Promise<TopUp | null> {
    return this.topUps.findOneBy({ accountId, livemode, kind: 'auto', status: In([...OPEN_STATUSES]) });
  }

  /** Returns false when the request was sent before or must not be sent. The caller holds the lock of the account's settings. */
  async markDispatched(tx: Tx, { accountId, id }: TopUp, dispatchedAt: Date): Promise<boolean> {
    const { affected } = await tx.update(
      TopUpEntity,
      { accountId, id, status: 'created', dispatchedAt: IsNull() },
      { dispatchedAt, checkedAt: dispatchedAt },
    );
    return affected === 1;
  }

  /** Charges whose request was not sent yet. The caller holds the lock of the account's settings. */
  notDispatched(tx: Tx, accountId: string, livemode: boolean): Promise<readonly TopUp[]> {
    return tx.findBy(TopUpEntity, {
      accountId,
      livemode,
      kind: 'auto',
      status: 'created',
      dispatchedAt: IsNull(),
    });
  }

  lastFailure(accountId: string, livemode: boolean): Promise<TopUp | null> {
    return this.topUps.findOne({
      where: { accountId, livemode, kind: 'auto', status: 'failed' },
      order: { createdAt: 'DESC', id: 'DESC' },
    });
  }

  async usage(tx: Tx | null, autoTopUp: AutoTopUp, nowMs: number): Promise<AutoTopUpUsage> {
    const { accountId, livemode } = autoTopUp;
    const source = tx ?? this.rows.manager;
    const from = [dayStartMs(nowMs), monthStartMs(nowMs)].map((ms) => new Date(ms).toISOString());
    const [sums] = await source.query<
      Row<'day_cents' | 'month_cents'>[] & Record<'day_count' | 'month_count', number>[]
    >(USAGE, [accountId, livemode, ...from]);
    const [last] = await source.query<{ at: Date | null }[]>(LAST_STARTED, [accountId, livemode]);
    const [declines] = await source.query<{ count: number }[]>(DECLINES_IN_A_ROW, [
      accountId,
      livemode,
      chargeFingerprint(autoTopUp),
    ]);
    if (sums === undefined) throw new Error('the charges were not counted');
    return {
      day: { count: sums.day_count, cents: BigInt(sums.day_cents) },
      month: { count: sums.month_count, cents: BigInt(sums.month_cents) },
      lastStartedAtMs: last?.at?.getTime() ?? null,
      declinesInARow: declines?.count ?? 0,
    };
  }
}
