import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import {
  nowSeconds,
  refusalOf,
  stripeSdkFor,
  topUpSessionParams,
} from '../support/payments/sandbox-stripe-client.js';
import {
  allOf,
  controlRoute,
  eventsSince,
  payTopUp,
  until,
} from '../support/payments/sandbox-stripe-money.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

beforeAll(async () => {
  sandbox = await startSandboxStripe();
  stripe = stripeSdkFor(sandbox.baseUrl);
});

afterAll(() => sandbox.close());

describe('refunds through the real SDK', () => {
  it('gives a charge back in parts until nothing is left, and not a cent more', async () => {
    const { intent, charge } = await payTopUp(sandbox, stripe);
    const before = sandbox.control.events().length;
    const part = await stripe.refunds.create({
      payment_intent: intent.id,
      amount: 400,
      reason: 'requested_by_customer',
      metadata: { refund_id: 'rf_1' },
    });
    expect(part).toMatchObject({
      object: 'refund',
      amount: 400,
      charge: charge.id,
      currency: 'usd',
      metadata: { refund_id: 'rf_1' },
      payment_intent: intent.id,
      reason: 'requested_by_customer',
      status: 'succeeded',
    });
    expect(part).not.toHaveProperty('failure_reason');
    expect(eventsSince(sandbox, before)).toEqual(['refund.created', 'charge.refunded']);
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ amount_refunded: 400, refunded: false });

    const tooMuch = await refusalOf(stripe.refunds.create({ charge: charge.id, amount: 651 }));
    expect(tooMuch).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError', param: 'amount' });
    expect(tooMuch.message).toBe('Refund amount ($6.51) is greater than unrefunded amount on charge ($6.50)');
    const rest = await stripe.refunds.create({ charge: charge.id });
    expect(rest).toMatchObject({ amount: 650, reason: null, status: 'succeeded' });
    expect(
      await stripe.charges.retrieve(charge.id, { expand: ['refunds', 'balance_transaction'] }),
    ).toMatchObject({
      amount_refunded: 1_050,
      refunded: true,
      refunds: { object: 'list', has_more: false, data: [{ id: rest.id }, { id: part.id }] },
      balance_transaction: { amount: 1_050, fee: 60 },
    });
    for (const target of [{ charge: charge.id }, { payment_intent: intent.id, amount: 1 }]) {
      const refused = await refusalOf(stripe.refunds.create(target));
      expect(refused).toMatchObject({ statusCode: 400, code: 'charge_already_refunded' });
    }
    const { data: events } = await stripe.events.list({ type: 'charge.refunded', limit: 1 });
    expect(events[0]?.data).toMatchObject({
      object: { amount_refunded: 1_050, refunded: true },
      previous_attributes: { amount_refunded: 400, refunded: false },
    });
  });

  it('moves the balance by the refund and keeps the fee of the charge', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const refund = await stripe.refunds.create(
      { charge: charge.id, amount: 500, expand: ['balance_transaction', 'charge', 'payment_method'] },
      {},
    );
    expect(refund).toMatchObject({
      balance_transaction: {
        amount: -500,
        description: 'REFUND FOR CHARGE (API credit)',
        fee: 0,
        net: -500,
        reporting_category: 'refund',
        source: refund.id,
        type: 'refund',
      },
      charge: { id: charge.id, amount_refunded: 500 },
      payment_method: { card: { last4: '4242' } },
    });
  });

  it('refunds once under one idempotency key, however often it is asked and whatever is lost', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const options = { idempotencyKey: `refund:${charge.id}` };
    const ask = () => stripe.refunds.create({ charge: charge.id, amount: 100 }, options);
    sandbox.control.failRequests({ pathPrefix: '/v1/refunds', method: 'POST', outcome: 'lost', times: 4 });
    expect(await refusalOf(ask())).toMatchObject({ type: 'StripeConnectionError' });
    sandbox.control.clearFaults();
    const answers = [await ask(), await ask(), await ask()];
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    expect((await stripe.refunds.list({ charge: charge.id })).data).toHaveLength(1);
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ amount_refunded: 100 });
    const other = stripe.refunds.create({ charge: charge.id, amount: 101 }, options);
    expect(await refusalOf(other)).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
  });

  it('never gives back more than the charge, however many ask at once', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const asked = Array.from({ length: 20 }, () => stripe.refunds.create({ charge: charge.id, amount: 100 }));
    const answers = await Promise.allSettled(asked);
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ amount_refunded: 1_000 });
  });

  it('lists by charge, by intent and by time, and changes only the metadata', async () => {
    const { charge, intent } = await payTopUp(sandbox, stripe);
    const other = await payTopUp(sandbox, stripe);
    const made = [
      await stripe.refunds.create({ charge: charge.id, amount: 1, metadata: { a: '1', b: '2' } }),
      await stripe.refunds.create({ charge: charge.id, amount: 2 }),
    ];
    await stripe.refunds.create({ charge: other.charge.id, amount: 3 });
    const ids = made.map(({ id }) => id).toReversed();
    const recently = { gte: nowSeconds() - 60 };
    for (const filter of [
      { charge: charge.id },
      { payment_intent: intent.id, created: recently, limit: 1 },
    ]) {
      expect((await allOf(stripe.refunds.list(filter))).map(({ id }) => id)).toEqual(ids);
    }
    expect((await stripe.refunds.list({ charge: charge.id, created: { lt: recently.gte } })).data).toEqual(
      [],
    );
    const changed = await stripe.refunds.update(String(ids[1]), { metadata: { b: '', c: '3' } });
    expect(changed.metadata).toEqual({ a: '1', c: '3' });
    expect(await stripe.refunds.retrieve(changed.id)).toEqual(changed);
    expect(await refusalOf(stripe.refunds.cancel(changed.id))).toMatchObject({ statusCode: 400 });
  });

  it('marks a charge as fraudulent when it is refunded as such', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    await stripe.refunds.create({ charge: charge.id, reason: 'fraudulent' });
    expect((await stripe.charges.retrieve(charge.id)).fraud_details).toEqual({ user_report: 'fraudulent' });
  });

  it.each([
    ['neither charge nor intent', {}, undefined, undefined, 400],
    ['both of them', { charge: 'ch_1', payment_intent: 'pi_1' }, undefined, undefined, 400],
    ['an unknown charge', { charge: 'ch_nobody' }, 'id', 'resource_missing', 404],
    ['an unknown intent', { payment_intent: 'pi_nobody' }, 'payment_intent', 'resource_missing', 400],
    ['nothing to give back', { charge: 'ch_1', amount: 0 }, 'amount', 'parameter_invalid_integer', 400],
    ['less than nothing', { charge: 'ch_1', amount: -1 }, 'amount', 'parameter_invalid_integer', 400],
    ['a fraction of a cent', { charge: 'ch_1', amount: 1.5 }, 'amount', 'parameter_invalid_integer', 400],
    ['an amount in words', { charge: 'ch_1', amount: 'all' }, 'amount', 'parameter_invalid_integer', 400],
    [
      'a reason that only Stripe gives',
      { charge: 'ch_1', reason: 'expired_uncaptured_charge' },
      'reason',
      undefined,
      400,
    ],
    ['a misspelt parameter', { charge: 'ch_1', ammount: 5 }, 'ammount', 'parameter_unknown', 400],
    [
      'a parameter for platforms',
      { charge: 'ch_1', reverse_transfer: true },
      'reverse_transfer',
      'sandbox_not_simulated',
      400,
    ],
  ])('refuses %s', async (_what, params, param, code, statusCode) => {
    const refused = await refusalOf(stripe.refunds.create(params as Stripe.RefundCreateParams));
    expect(refused).toMatchObject({ statusCode, type: 'StripeInvalidRequestError' });
    expect([refused.param, refused.code]).toEqual([param, code]);
  });

  it('refuses to give back what was never collected', async () => {
    const { id } = await stripe.checkout.sessions.create(topUpSessionParams());
    await sandbox.control.pay(id, '4000000000000002');
    const { payment_intent: intentId } = await stripe.checkout.sessions.retrieve(id);
    const refused = await refusalOf(stripe.refunds.create({ payment_intent: intentId as string }));
    expect(refused.statusCode).toBe(400);
    expect(refused.message).toContain('does not have a successful charge to refund');
  });
});

describe('refunds that are not over when they are answered', () => {
  it('says pending and then succeeds, with the card that does so', async () => {
    const { charge } = await payTopUp(sandbox, stripe, '4000000000007726');
    const refund = await stripe.refunds.create({ charge: charge.id });
    expect(refund).toMatchObject({ status: 'pending', pending_reason: 'processing' });
    expect(await refusalOf(stripe.refunds.create({ charge: charge.id }))).toMatchObject({
      code: 'charge_already_refunded',
    });
    const settled = await until('the refund to succeed', async () => {
      const now = await stripe.refunds.retrieve(refund.id);
      return now.status === 'pending' ? null : now;
    });
    expect(settled.status).toBe('succeeded');
    expect(settled).not.toHaveProperty('pending_reason');
    expect(sandbox.control.events('refund.updated')[0]?.data).toMatchObject({
      object: { id: refund.id, status: 'succeeded' },
      previous_attributes: { status: 'pending' },
    });
    expect(sandbox.control.events('refund.failed')).toEqual([]);
  });

  it('succeeds and then fails, with the card that does so: the money is back and can be refunded again', async () => {
    const { charge } = await payTopUp(sandbox, stripe, '4000000000005126');
    const refund = await stripe.refunds.create({ charge: charge.id, amount: 450 });
    expect(refund.status).toBe('succeeded');
    const failed = await until('the refund to fail', async () => {
      const now = await stripe.refunds.retrieve(refund.id, { expand: ['failure_balance_transaction'] });
      return now.status === 'succeeded' ? null : now;
    });
    expect(failed).toMatchObject({
      status: 'failed',
      failure_reason: 'expired_or_canceled_card',
      failure_balance_transaction: {
        amount: 450,
        net: 450,
        reporting_category: 'refund_failure',
        source: refund.id,
        type: 'refund_failure',
      },
    });
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ amount_refunded: 0, refunded: false });
    expect(await stripe.refunds.create({ charge: charge.id })).toMatchObject({ amount: 1_050 });
    const types = sandbox.control.events().map(({ type }) => type);
    expect(types).toContain('refund.failed');
  });

  it('fails, or arrives, on demand, with the reason asked for', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const refund = await stripe.refunds.create({ charge: charge.id });
    const before = sandbox.control.events().length;
    const failed = await controlRoute(sandbox, `refunds/${refund.id}/fail`, {
      reason: 'lost_or_stolen_card',
    });
    expect(failed).toMatchObject({
      status: 200,
      body: { status: 'failed', failure_reason: 'lost_or_stolen_card' },
    });
    expect(eventsSince(sandbox, before)).toEqual(['refund.updated', 'refund.failed']);
    expect(await controlRoute(sandbox, `refunds/${refund.id}/fail`)).toMatchObject({ status: 400 });
    expect(await controlRoute(sandbox, `refunds/${refund.id}/succeed`)).toMatchObject({ status: 400 });
    expect(await controlRoute(sandbox, 'refunds/re_nobody/fail')).toMatchObject({ status: 404 });

    const slow = await payTopUp(sandbox, stripe, '4000000000007726');
    const pending = await stripe.refunds.create({ charge: slow.charge.id });
    expect(await sandbox.control.succeedRefund(pending.id)).toMatchObject({ status: 'succeeded' });
    const again = await stripe.refunds.create({ charge: (await payTopUp(sandbox, stripe)).charge.id });
    await expect(sandbox.control.failRefund(again.id, 'bad mood')).rejects.toThrow('reason must be one of');
    await expect(sandbox.control.failRefund('re_nobody')).rejects.toThrow('no object');
  });
});
