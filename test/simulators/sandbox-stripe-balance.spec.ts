import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { nowSeconds, refusalOf, stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import {
  allOf,
  controlRoute,
  eventsSince,
  payTopUp,
  saveCard,
} from '../support/payments/sandbox-stripe-money.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

beforeEach(async () => {
  sandbox = await startSandboxStripe();
  stripe = stripeSdkFor(sandbox.baseUrl);
});

afterEach(() => sandbox.close());

const net = (transactions: readonly { net: number }[]): number =>
  transactions.reduce((sum, transaction) => sum + transaction.net, 0);

/** One of everything that moves the balance; what it came to, in cents. */
async function eventfulDay(): Promise<number> {
  const { charge } = await payTopUp(sandbox, stripe);
  const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
  await stripe.paymentIntents.create({
    amount: 10_000,
    currency: 'usd',
    customer: customerId,
    payment_method: paymentMethodId,
    off_session: true,
    confirm: true,
  });
  await stripe.refunds.create({ charge: charge.id, amount: 250 });
  const failing = await stripe.refunds.create({ charge: charge.id, amount: 300 });
  await sandbox.control.failRefund(failing.id);
  const disputed = await payTopUp(sandbox, stripe);
  await sandbox.control.createDispute({ charge: disputed.charge.id, status: 'won' });
  const lost = await payTopUp(sandbox, stripe);
  await sandbox.control.createDispute({ charge: lost.charge.id, status: 'lost' });
  // Four charges of $10.50 less 60 cents, one of $100.00 less $3.20, a refund that came back, two disputes of $15.
  return 4 * (1_050 - 60) + (10_000 - 320) - 250 + (-300 + 300) - 1_500 - (1_050 + 1_500);
}

describe('balance transactions', () => {
  it('account for every cent: charges, fees, refunds that stay and fail, disputes won and lost', async () => {
    const expected = await eventfulDay();
    const all = await allOf(stripe.balanceTransactions.list({ limit: 4 }));
    expect(net(all)).toBe(expected);
    for (const transaction of all) {
      expect(transaction.net).toBe(transaction.amount - transaction.fee);
      expect(transaction.fee_details.reduce((sum, { amount }) => sum + amount, 0)).toBe(transaction.fee);
      const { source } = await stripe.balanceTransactions.retrieve(transaction.id, { expand: ['source'] });
      expect(source).toMatchObject({ id: transaction.source });
    }
  });

  it('are found by type, source and time', async () => {
    await eventfulDay();
    const counts = async (type: string) => (await allOf(stripe.balanceTransactions.list({ type }))).length;
    expect([await counts('charge'), await counts('refund'), await counts('refund_failure')]).toEqual([
      5, 2, 1,
    ]);
    expect([await counts('adjustment'), await counts('payout')]).toEqual([3, 0]);
    const [charge] = (await stripe.charges.list({ limit: 1 })).data;
    const ofCharge = await stripe.balanceTransactions.list({ source: charge?.id ?? '' });
    expect(ofCharge.data.map(({ id }) => id)).toEqual([charge?.balance_transaction]);
    const future = { gt: nowSeconds() + 60 };
    expect((await stripe.balanceTransactions.list({ created: future })).data).toEqual([]);
    const params = { kind: 'charge' } as Stripe.BalanceTransactionListParams;
    expect(await refusalOf(stripe.balanceTransactions.list(params))).toMatchObject({
      code: 'parameter_unknown',
    });
  });

  it('wait two days when money comes in, and not when it goes out', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const refund = await stripe.refunds.create({ charge: charge.id, amount: 5 });
    const read = (id: unknown) => stripe.balanceTransactions.retrieve(String(id));
    expect(await read(charge.balance_transaction)).toMatchObject({ status: 'pending' });
    expect(await read(refund.balance_transaction)).toMatchObject({ status: 'available' });
  });
});

describe('payouts', () => {
  it('carry everything to the bank once, and can be taken apart again', async () => {
    const expected = await eventfulDay();
    const before = sandbox.control.events().length;
    const paid = await controlRoute(sandbox, 'payouts');
    expect(paid).toMatchObject({ status: 200, body: { object: 'payout', amount: expected, status: 'paid' } });
    expect(eventsSince(sandbox, before)).toEqual([
      'payout.created',
      'payout.paid',
      'payout.reconciliation_completed',
    ]);
    const id = String(paid.body['id']);
    expect(await stripe.payouts.retrieve(id, { expand: ['balance_transaction'] })).toMatchObject({
      automatic: true,
      balance_transaction: { amount: -expected, fee: 0, reporting_category: 'payout', source: id },
      reconciliation_status: 'completed',
      status: 'paid',
    });
    const parts = await allOf(stripe.balanceTransactions.list({ payout: id, limit: 3 }));
    expect(parts.every(({ status }) => status === 'available')).toBe(true);
    expect(net(parts)).toBe(0);
    expect(net(parts.filter(({ type }) => type !== 'payout'))).toBe(expected);

    expect(await controlRoute(sandbox, 'payouts')).toMatchObject({ status: 400 });
    await payTopUp(sandbox, stripe);
    const next = await sandbox.control.payOut();
    expect(next.amount).toBe(990);
    // Each payout knows its own, whatever came later.
    expect(await allOf(stripe.balanceTransactions.list({ payout: id }))).toHaveLength(parts.length);
    expect(await allOf(stripe.balanceTransactions.list({ payout: next.id }))).toHaveLength(2);
    expect((await stripe.payouts.list({ status: 'paid' })).data.map((payout) => payout.id)).toEqual([
      next.id,
      id,
    ]);
    const unknown = stripe.balanceTransactions.list({ payout: 'po_nobody' });
    expect(await refusalOf(unknown)).toMatchObject({
      statusCode: 400,
      code: 'resource_missing',
      param: 'payout',
    });
  });

  it('are negative when more went out than came in', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    await sandbox.control.payOut();
    await stripe.refunds.create({ charge: charge.id });
    expect(await sandbox.control.payOut()).toMatchObject({ amount: -1_050 });
  });

  it('come back when the bank refuses them, and go with the next one', async () => {
    await payTopUp(sandbox, stripe);
    const { id } = await sandbox.control.payOut();
    expect(await controlRoute(sandbox, `payouts/${id}/fail`)).toMatchObject({ status: 200 });
    expect(await stripe.payouts.retrieve(id, { expand: ['failure_balance_transaction'] })).toMatchObject({
      status: 'failed',
      failure_code: 'account_closed',
      failure_balance_transaction: { amount: 990, type: 'payout_failure' },
    });
    expect(sandbox.control.events('payout.failed')).toHaveLength(1);
    expect(await controlRoute(sandbox, `payouts/${id}/fail`)).toMatchObject({ status: 400 });
    expect(await controlRoute(sandbox, 'payouts/po_nobody/fail')).toMatchObject({ status: 404 });
    expect(await sandbox.control.payOut()).toMatchObject({ amount: 990 });
    expect(net(await allOf(stripe.balanceTransactions.list()))).toBe(0);
  });
});
