import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import Stripe from 'stripe';
import { ControlRefusedError } from 'coffer-sandbox/stripe/control-errors';
import { DISPUTE_STATUSES } from 'coffer-sandbox/stripe/money-out-objects';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { casesFor, checkProperty } from '../support/property.js';
import { stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { allOf } from '../support/payments/sandbox-stripe-money.js';

const index = fc.nat(5);
const amount = fc.integer({ min: 1, max: 3_000 });
const status = fc.constantFrom(...DISPUTE_STATUSES);
const step = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('pay' as const), amount: fc.integer({ min: 50, max: 3_000 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('refund' as const), index, amount: fc.option(amount) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail_refund' as const), index }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('dispute' as const), index, amount: fc.option(amount), status }),
  },
  // Most steps are impossible for most disputes, so it is tried more often.
  { weight: 4, arbitrary: fc.record({ do: fc.constant('move_dispute' as const), index, status }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pay_out' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail_payout' as const), index }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Does one step to whatever object is there; what Stripe or the control refuses has done nothing. */
async function take(sandbox: SandboxStripe, stripe: Stripe, what: Step): Promise<void> {
  const nth = async (list: AsyncIterable<{ id: string }>, position: number): Promise<string> => {
    const all = await allOf(list);
    return all[position % Math.max(1, all.length)]?.id ?? 'nothing_there';
  };
  switch (what.do) {
    case 'pay': {
      const how = { currency: 'usd', off_session: true, confirm: true, payment_method: 'pm_card_visa' };
      await stripe.paymentIntents.create({ ...how, amount: what.amount });
      return;
    }
    case 'refund': {
      const charge = await nth(stripe.charges.list(), what.index);
      await stripe.refunds.create({ charge, ...(what.amount === null ? {} : { amount: what.amount }) });
      return;
    }
    case 'fail_refund':
      await sandbox.control.failRefund(await nth(stripe.refunds.list(), what.index));
      return;
    case 'dispute': {
      const charge = await nth(stripe.charges.list(), what.index);
      const amountCents = what.amount === null ? {} : { amountCents: what.amount };
      await sandbox.control.createDispute({ charge, status: what.status, ...amountCents });
      return;
    }
    case 'move_dispute':
      await sandbox.control.moveDispute(await nth(stripe.disputes.list(), what.index), what.status);
      return;
    case 'pay_out':
      await sandbox.control.payOut();
      return;
    case 'fail_payout':
      await sandbox.control.failPayout(await nth(stripe.payouts.list(), what.index));
  }
}

function isRefusal(error: unknown): boolean {
  if (error instanceof ControlRefusedError) return true;
  if (error instanceof Error && error.name === 'UnknownObjectError') return true;
  return error instanceof Stripe.errors.StripeInvalidRequestError;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** What is true of Stripe's books whatever happened. */
async function assertBooksAgree(sandbox: SandboxStripe, stripe: Stripe): Promise<void> {
  const limit = { limit: 100 };
  const [charges, refunds, disputes, payouts, transactions] = await Promise.all([
    allOf(stripe.charges.list(limit)),
    allOf(stripe.refunds.list(limit)),
    allOf(stripe.disputes.list(limit)),
    allOf(stripe.payouts.list(limit)),
    allOf(stripe.balanceTransactions.list(limit)),
  ]);
  const netOf = (id: string) => sum(transactions.filter(({ source }) => source === id).map(({ net }) => net));
  const countEvents = (type: string, id: string) =>
    sandbox.control.events(type).filter(({ data }) => data.object['id'] === id).length;

  for (const charge of charges) {
    const live = refunds.filter((refund) => refund.charge === charge.id && refund.status !== 'failed');
    expect(charge.amount_refunded).toBe(sum(live.map((refund) => refund.amount)));
    expect(charge.amount_refunded).toBeLessThanOrEqual(charge.amount);
    expect(charge.refunded).toBe(charge.amount_refunded === charge.amount);
    expect(charge.disputed).toBe(disputes.some((dispute) => dispute.charge === charge.id));
    // 2.9% rounded half up, written without the sandbox's own arithmetic.
    expect(netOf(charge.id)).toBe(charge.amount - Math.floor((charge.amount * 29 + 500) / 1_000) - 30);
  }
  for (const refund of refunds) {
    const hasFailed = refund.status === 'failed';
    expect(netOf(refund.id)).toBe(hasFailed ? 0 : -refund.amount);
    expect([countEvents('refund.created', refund.id), countEvents('refund.failed', refund.id)]).toEqual([
      1,
      hasFailed ? 1 : 0,
    ]);
  }
  for (const dispute of disputes) {
    const withdrawn = countEvents('charge.dispute.funds_withdrawn', dispute.id);
    const reinstated = countEvents('charge.dispute.funds_reinstated', dispute.id);
    expect(countEvents('charge.dispute.created', dispute.id)).toBe(1);
    expect(dispute.balance_transactions).toHaveLength(withdrawn + reinstated);
    const isFree = dispute.status.startsWith('warning_') || dispute.status === 'prevented';
    expect([withdrawn, reinstated]).toEqual([isFree ? 0 : 1, dispute.status === 'won' ? 1 : 0]);
    expect(netOf(dispute.id)).toBe(withdrawn * (-dispute.amount - 1_500) + reinstated * dispute.amount);
  }
  for (const payout of payouts)
    expect(netOf(payout.id)).toBe(payout.status === 'failed' ? 0 : -payout.amount);
  const parts = await Promise.all(
    payouts.map(({ id }) => allOf(stripe.balanceTransactions.list({ payout: id, ...limit }))),
  );
  for (const part of parts) expect(sum(part.map(({ net }) => net))).toBe(0);
  const carried = parts.flat().map(({ id }) => id);
  expect(new Set(carried).size).toBe(carried.length);
}

describe('any history of payments, refunds, disputes and payouts', () => {
  it('leaves books that agree: what is refunded, withdrawn, paid out and reported in events', async () => {
    let taken = 0;
    const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const sandbox = await startSandboxStripe();
      try {
        const stripe = stripeSdkFor(sandbox.baseUrl);
        for (const what of [{ do: 'pay' as const, amount: 1_050 }, ...steps]) {
          try {
            await take(sandbox, stripe, what);
            taken += 1;
          } catch (error) {
            if (!isRefusal(error)) throw error;
          }
        }
        await assertBooksAgree(sandbox, stripe);
      } finally {
        await sandbox.close();
      }
    });
    await checkProperty('sandbox money', property, { runs: 60 });
    expect(taken).toBeGreaterThan(casesFor(200));
  }, 60_000);
});

describe('garbage', () => {
  it('never gets a 5xx from a route that moves money, and moves none unless it was right after all', async () => {
    const sandbox = await startSandboxStripe();
    const stripe = stripeSdkFor(sandbox.baseUrl);
    const how = { currency: 'usd', off_session: true, confirm: true, payment_method: 'pm_card_visa' };
    const intent = await stripe.paymentIntents.create({ ...how, amount: 1_050 });
    const charge = intent.latest_charge as string;
    const { id: dispute } = await sandbox.control.createDispute({ charge, status: 'warning_needs_response' });
    const route = fc.constantFrom(
      '/v1/refunds',
      '/v1/payment_intents',
      `/v1/payment_intents/${intent.id}/cancel`,
      `/v1/disputes/${dispute}`,
      '/v1/payment_methods/pm_card_visa/attach',
      '/v1/payment_methods/__proto__/detach',
    );
    const name = fc.oneof(
      fc.constantFrom('charge', 'payment_intent', 'amount', 'reason', 'metadata', 'metadata[a]', 'expand[]'),
      fc.constantFrom('customer', 'evidence', 'evidence[uncategorized_text]', 'submit', 'off_session'),
      fc.constantFrom('__proto__', 'constructor[a]', 'automatic_payment_methods[enabled]'),
      fc.string({ maxLength: 12 }),
    );
    const value = fc.oneof(
      fc.constantFrom(
        charge,
        intent.id,
        '-1',
        '0',
        '5',
        '1e3',
        '',
        'true',
        'constructor',
        'winning_evidence',
      ),
      fc.string({ maxLength: 20 }),
    );
    const pairs = fc.array(fc.tuple(name, value), { maxLength: 6 });
    const property = fc.asyncProperty(route, pairs, async (path, given) => {
      const headers = {
        authorization: 'Bearer sk_test_x',
        'content-type': 'application/x-www-form-urlencoded',
      };
      const body = new URLSearchParams(given).toString();
      const answer = await fetch(`${sandbox.baseUrl}${path}`, { method: 'POST', headers, body });
      const { error } = (await answer.json()) as { error?: { type: string; message: string } };
      if (answer.status === 200) return;
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
      expect(error).toMatchObject({ type: 'invalid_request_error', message: expect.any(String) });
    });
    await checkProperty('sandbox garbage', property, { runs: 500 });
    await assertBooksAgree(sandbox, stripe);
    await sandbox.close();
  });
});
