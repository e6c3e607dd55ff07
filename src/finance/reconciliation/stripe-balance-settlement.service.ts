import { Inject, Injectable } from '@nestjs/common';
import { actorName, type AuditActor } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../platform/common/clock.js';
import { isStripeId } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { InvalidRequestError, ResourceMissingError } from '../../platform/errors/common.errors.js';
import { NAMED } from './reconciliation.js';
import {
  StripeBalanceSettlementEntity,
  type StripeBalanceSettlement,
} from './stripe-balance-settlement.entity.js';

export type Settling = {
  readonly settledBy: string | null;
  readonly by: AuditActor;
  readonly reason: string;
};

/** The account whose payment a balance transaction moved, and the event of that book under which it is or will be booked. */
const FIND = `
  SELECT n.reference,
         (SELECT account_id FROM top_ups u WHERE u.payment_intent_id = n.payment_intent_id
          UNION ALL SELECT account_id FROM payment_reviews r WHERE r.payment_intent_id = n.payment_intent_id
          UNION ALL SELECT u.account_id FROM stripe_balance_transactions c JOIN top_ups u ON u.id = c.top_up_id
                     WHERE c.payment_intent_id = n.payment_intent_id LIMIT 1) AS "accountId"
    FROM (SELECT b.id, b.payment_intent_id, named.reference
            FROM stripe_balance_transactions b LEFT JOIN (${NAMED}) named ON named.id = b.id
           WHERE b.id = $1) n`;

/** Records decisions about money that Stripe moved for a payment and that cannot be booked. */
@Injectable()
export class StripeBalanceSettlementService {
  constructor(
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Records a decision, after which the doctor no longer reports the money. A repeated request returns the recorded decision, and a
   * different one is recorded after it. Throws `ResourceMissingError` when it moved no payment of a customer, and `InvalidRequestError`
   * when a book has the money, or when the account's book does not have the correction.
   */
  async settle(id: string, { settledBy, by, reason }: Settling): Promise<StripeBalanceSettlement> {
    if (!isStripeId(id)) throw new ResourceMissingError('balance transaction of a payment', id);
    return this.transactions.run(async (tx) => {
      await tx.query('SELECT FROM stripe_balance_transactions WHERE id = $1 FOR NO KEY UPDATE', [id]);
      const accountId = await this.requireUnbooked(tx, id);
      if (settledBy !== null) await this.requireCorrection(tx, accountId, settledBy);
      const last = await tx.findOne(StripeBalanceSettlementEntity, {
        where: { balanceTransactionId: id },
        order: { number: 'DESC' },
      });
      if (last !== null && last.settledBy === settledBy && last.reason === reason) return last;
      const settlement = {
        balanceTransactionId: id,
        number: 1 + (last?.number ?? 0),
        ...{ accountId, settledBy, actor: actorName(by), reason },
        decidedAt: new Date(this.clock.nowMs()),
      };
      await tx.insert(StripeBalanceSettlementEntity, settlement);
      const after = { settled_by: settledBy };
      const before = last === null ? null : { settled_by: last.settledBy };
      const act = 'stripe_balance_transaction.settled';
      await this.audit.record(tx, by, { act, object: id, account: accountId, before, after, reason });
      return settlement;
    }, by);
  }

  private async requireUnbooked(tx: Tx, id: string): Promise<string> {
    const [found] = await tx.query<{ accountId: string | null; reference: string | null }[]>(FIND, [id]);
    if (found === undefined || found.accountId === null)
      throw new ResourceMissingError('balance transaction of a payment', id);
    if (found.reference !== null)
      throw new InvalidRequestError(
        `'${id}' is in the book of ${found.accountId} as '${found.reference}', so there is nothing to decide. Nothing was recorded.`,
        'id',
      );
    return found.accountId;
  }

  private async requireCorrection(tx: Tx, accountId: string, reference: string): Promise<void> {
    const rows = await tx.query<unknown[]>(
      'SELECT FROM transfers WHERE account_id = $1 AND reference = $2 AND leg = 0',
      [accountId, reference],
    );
    if (rows.length > 0) return;
    throw new InvalidRequestError(
      `The book of ${accountId} has no transaction '${reference}'. Nothing was recorded. Make the correction first, then name its reference.`,
      'settled_by',
    );
  }
}
