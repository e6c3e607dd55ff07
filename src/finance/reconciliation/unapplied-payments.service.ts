import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { unappliedLegsOf } from './bookings.js';
import { REVIEWED } from './reconciliation.js';

/** One batch of the engine, which commits them together. */
const BATCH_SIZE = 200;
/** What one run books at most; what is left is the next run's. */
const BATCHES_PER_RUN = 50;

/** What a row of the platform's book says was done, by its reference in the ledger alone: nothing else remembers it. */
const bookedAs = (reference: string): string =>
  `EXISTS (SELECT FROM transfers t WHERE t.account_id = '${PLATFORM_ACCOUNT_ID}' AND t.reference = ${reference} AND t.leg = 0)`;
const TAKEN = bookedAs(`'unapplied:' || r.id`);
const RELEASED = bookedAs(`'unapplied:' || r.id || ':applied'`);

const DUE = `
  SELECT r.id, r.type, r.source_id AS "sourceId", r.amount_cents AS "amountCents", r.is_applied AS "isApplied"
    FROM (${REVIEWED}) r
   WHERE CASE WHEN r.is_applied THEN ${TAKEN} AND NOT ${RELEASED} ELSE NOT ${TAKEN} END
   ORDER BY r.created_at, r.id LIMIT ${BATCH_SIZE}`;

type Due = {
  readonly id: string;
  readonly type: string;
  readonly sourceId: string | null;
  readonly amountCents: string;
  readonly isApplied: boolean;
};

/**
 * Books what Stripe has of payments that nobody was credited with as owed, whatever becomes of their review: each balance
 * transaction once, and once more, the other way, when a customer's own book has it after all.
 */
@Injectable()
export class UnappliedPayments {
  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
  ) {}

  /**
   * Books all that is due, also of releases that booked none. Safe to repeat and to run twice at the same time: what a
   * customer's book has it keeps, so a run that reads too early is corrected by the next one. Throws what the engine and the
   * database throw; what was booked until then stays booked.
   */
  async bookAll(): Promise<void> {
    for (let batches = 0; batches < BATCHES_PER_RUN; batches += 1) {
      const due = await this.dataSource.query<Due[]>(DUE);
      if (due.length === 0) return;
      const results = await Promise.allSettled(due.map((each) => this.book(each)));
      const failed = results.find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    }
  }

  private async book({ id, type, sourceId, amountCents, isApplied }: Due): Promise<void> {
    await this.engine.execute({
      type: 'book',
      accountId: PLATFORM_ACCOUNT_ID,
      actor: 'stripe',
      reference: isApplied ? `unapplied:${id}:applied` : `unapplied:${id}`,
      fingerprint: amountCents,
      memo: `Stripe ${type} ${sourceId ?? id}${isApplied ? ', applied' : ''}`,
      legs: unappliedLegsOf(BigInt(amountCents), isApplied),
    });
  }
}
