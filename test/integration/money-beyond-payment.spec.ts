import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { StripeBalanceJob } from '../../src/finance/platform-book/stripe-balance.job.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterAll(() => expectBooksToBalance(app.dataSource));

const begin = (): Promise<ReturnHistory> => beginHistory(app, app.control);

/** What the customer's book moved in our account at Stripe, beside what Stripe says of the same payment. In cents. */
async function clearing({ accountId }: ReturnHistory): Promise<Record<string, unknown>> {
  await app.app.get(StripeBalanceJob).run();
  const [row] = await app.dataSource.query<Record<string, unknown>[]>(
    `SELECT (SELECT coalesce(sum(CASE 'stripe_clearing' WHEN debit_account THEN amount_micros
                                   WHEN credit_account THEN -amount_micros ELSE 0 END), 0) / 10000
               FROM transfers WHERE account_id = $1)::int AS booked,
            (SELECT coalesce(sum(b.amount_cents), 0) FROM stripe_balance_transactions b
              WHERE b.source_id IN (SELECT id FROM disputes WHERE account_id = $1
                                    UNION SELECT stripe_refund_id FROM refunds WHERE account_id = $1)
                 OR b.payment_intent_id IN (SELECT payment_intent_id FROM top_ups WHERE account_id = $1)
                AND b.type IN ('charge', 'payment'))::int AS told`,
    [accountId],
  );
  return row ?? {};
}

async function disputeOf({ accountId }: ReturnHistory): Promise<Record<string, unknown>> {
  const answer = await app.operator.get(`/v1/accounts/${accountId}/disputes`);
  return (answer.expect(200).body.data as Record<string, unknown>[])[0] ?? {};
}

describe('a dispute of more than is left of its payment', () => {
  it('is booked at once: what Stripe took beyond it is a loss, and stripe_clearing says what Stripe says', async () => {
    const history = await begin();
    await history.take(['refund', 'all']);
    await history.take(['dispute', 'needs_response']);
    expect(await history.left()).toEqual({
      legs: { top_up: 1_000, top_up_fee: 50, refund: 1_000, refund_fee: 50, dispute_excess: 1_050 },
      available: 0,
      debt: 0,
      status: 'frozen',
    });
    expect(await disputeOf(history)).toMatchObject({
      status: 'needs_response',
      credit_micros: '0',
      excess_micros: '10500000',
      withdrawn_at: expect.any(Number),
    });
    expect(await clearing(history)).toEqual({ booked: -1_050, told: -1_050 });
  });

  it('takes what is left as credit, and is reversed in both parts when it is won', async () => {
    const history = await begin();
    await history.take(['refund', 500]);
    await history.take(['dispute', 'needs_response', 1_050]);
    expect(await history.left()).toMatchObject({
      legs: { dispute: 500, dispute_fee: 25, dispute_excess: 525 },
      available: 0,
    });
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({
      legs: { reinstatement: 500, reinstatement_fee: 25, reinstatement_excess: 525 },
      available: 500,
      status: 'active',
    });
    expect(await clearing(history)).toEqual({ booked: 525, told: 525 });
  });
});
