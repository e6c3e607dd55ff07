import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { toUnappliedLegs } from './platform-book.rules.js';
import { REVIEWED } from './reconciliation.js';

/** The size of one batch of the engine, which commits a batch together. */
const BATCH_SIZE = 200;
/** The most that one run books. The next run books the rest. */
const BATCHES_PER_RUN = 50;

/** Whether the platform's book has a transfer under the reference. The ledger alone records that it was booked. */
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
 * Books the money of payments that no customer was credited with as owed, whatever is decided in their review. Each balance
 * transaction is booked once, and reversed once when a customer's own book has it later.
 */
@Injectable()
export class UnappliedPaymentsService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
  ) {}

  /**
   * Books all that is due, also for releases of this service that booked none. It is safe to repeat and to run concurrently:
   * a customer's book keeps what it has, so the next run corrects one that read too early. Throws what the engine and the
   * database throw; what was booked before that stays booked.
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
      legs: toUnappliedLegs(BigInt(amountCents), isApplied),
    });
  }
}
