import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import {
  FORM,
  refusalOf,
  stripeSdkFor,
  topUpSessionParams,
} from '../support/payments/sandbox-stripe-client.js';
import { controlRoute, eventsSince, payTopUp, saveCard } from '../support/payments/sandbox-stripe-money.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

beforeAll(async () => {
  sandbox = await startSandboxStripe();
  stripe = stripeSdkFor(sandbox.baseUrl);
});

afterAll(() => sandbox.close());

const count = () => sandbox.control.events().length;

type CreateParams = Stripe.PaymentIntentCreateParams;

const autoTopUp = (
  customer: string,
  paymentMethod: string,
  overrides: Partial<CreateParams> = {},
): CreateParams => ({
  amount: 2_100,
  currency: 'usd',
  customer,
  payment_method: paymentMethod,
  off_session: true,
  confirm: true,
  description: 'Auto top-up',
  metadata: { top_up_id: 'tu_2' },
  ...overrides,
});

async function cardErrorOf(promise: Promise<unknown>): Promise<Stripe.errors.StripeCardError> {
  const error = await refusalOf(promise);
  if (error instanceof Stripe.errors.StripeCardError) return error;
  throw new Error(`expected a card error, got ${error.type}`);
}

describe('cards that Checkout saved', () => {
  it('belong to the customer when the session asked for it, and to no customer when it did not', async () => {
    const before = count();
    const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
    expect(eventsSince(sandbox, before)).toEqual([
      'customer.created',
      'payment_intent.created',
      'payment_method.attached',
      'charge.succeeded',
      'payment_intent.succeeded',
      'checkout.session.completed',
    ]);
    const method = await stripe.paymentMethods.retrieve(paymentMethodId, { expand: ['customer'] });
    expect(method).toMatchObject({
      object: 'payment_method',
      allow_redisplay: 'limited',
      billing_details: { email: 'ada@example.com', name: 'Ada' },
      card: { brand: 'visa', exp_month: 12, exp_year: 2034, last4: '4242' },
      customer: { id: customerId },
      type: 'card',
    });
    const unsaved = await payTopUp(sandbox, stripe, undefined, { customer: customerId });
    const other = await stripe.paymentMethods.retrieve(unsaved.intent.payment_method as string);
    expect(other.customer).toBeNull();
    const lists = [
      await stripe.paymentMethods.list({ customer: customerId, type: 'card' }),
      await stripe.customers.listPaymentMethods(customerId),
    ];
    for (const { data } of lists) expect(data.map(({ id }) => id)).toEqual([paymentMethodId]);
    const reused = await refusalOf(stripe.paymentIntents.create(autoTopUp(customerId, other.id)));
    expect(reused.statusCode).toBe(400);
    expect(reused.message).toContain('may not be used again');
  });

  it('are not saved, and nothing is charged, when the customer fails to authenticate', async () => {
    const { id: customer } = await stripe.customers.create({});
    const { id, url } = await stripe.checkout.sessions.create(
      topUpSessionParams({ customer, payment_intent_data: { setup_future_usage: 'off_session' } }),
    );
    const before = count();
    const failed = await fetch(`${url}/pay`, {
      method: 'POST',
      headers: { ...FORM, accept: 'application/json' },
      body: 'card=4000002760003184&authentication=fails',
    });
    expect(failed.status).toBe(402);
    expect(await failed.json()).toMatchObject({
      status: 'declined',
      error: { code: 'payment_intent_authentication_failure' },
      session: { payment_status: 'unpaid', status: 'open' },
    });
    expect(eventsSince(sandbox, before)).toEqual([
      'payment_intent.created',
      'payment_intent.requires_action',
      'payment_intent.payment_failed',
    ]);
    expect(sandbox.control.events('payment_intent.requires_action')[0]?.data.object).toMatchObject({
      next_action: { type: 'use_stripe_sdk' },
      status: 'requires_action',
    });
    expect((await stripe.paymentMethods.list({ customer })).data).toEqual([]);
    expect((await stripe.charges.list({ customer })).data).toEqual([]);

    expect(await sandbox.control.pay(id, '4000002760003184')).toMatchObject({ status: 'paid' });
    const { data } = await stripe.paymentIntents.list({ customer, expand: ['data.payment_method'] });
    expect(data).toMatchObject([{ next_action: null, status: 'succeeded', payment_method: { customer } }]);
  });

  it('cannot be charged any more once they are detached', async () => {
    const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
    expect(await stripe.paymentMethods.detach(paymentMethodId)).toMatchObject({ customer: null });
    expect(sandbox.control.events('payment_method.detached')[0]?.data).toMatchObject({
      object: { id: paymentMethodId, customer: null },
      previous_attributes: { customer: customerId },
    });
    expect((await stripe.paymentMethods.list({ customer: customerId })).data).toEqual([]);
    const refused = await refusalOf(stripe.paymentIntents.create(autoTopUp(customerId, paymentMethodId)));
    expect(refused).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    expect(await refusalOf(stripe.paymentMethods.detach(paymentMethodId))).toMatchObject({ statusCode: 400 });
    const attach = stripe.paymentMethods.attach(paymentMethodId, { customer: customerId });
    expect((await refusalOf(attach)).message).toContain('may not be used again');
    expect(await refusalOf(stripe.paymentMethods.retrieve('pm_nobody'))).toMatchObject({
      statusCode: 404,
      code: 'resource_missing',
    });
  });
});

describe('payments without the customer', () => {
  it('are paid in one call, with our ids on intent and charge and the events that follow', async () => {
    const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
    const before = count();
    const intent = await stripe.paymentIntents.create(
      autoTopUp(customerId, paymentMethodId, { expand: ['latest_charge.balance_transaction'] }),
      { idempotencyKey: 'top_up:tu_2:pi' },
    );
    expect(intent).toMatchObject({
      object: 'payment_intent',
      amount: 2_100,
      amount_received: 2_100,
      customer: customerId,
      description: 'Auto top-up',
      last_payment_error: null,
      metadata: { top_up_id: 'tu_2' },
      payment_method: paymentMethodId,
      status: 'succeeded',
      latest_charge: {
        amount: 2_100,
        customer: customerId,
        metadata: { top_up_id: 'tu_2' },
        paid: true,
        payment_method: paymentMethodId,
        // 2.9% of $21.00 is 60.9 cents, rounded to 61, and 30 cents.
        balance_transaction: { fee: 91, net: 2_009, type: 'charge' },
      },
    });
    const events = sandbox.control.events().slice(0, count() - before);
    expect(events.map(({ type }) => type).toReversed()).toEqual([
      'payment_intent.created',
      'charge.succeeded',
      'payment_intent.succeeded',
    ]);
    expect(events.every(({ request }) => request.idempotency_key === 'top_up:tu_2:pi')).toBe(true);
    expect((await stripe.paymentIntents.list({ customer: customerId, limit: 1 })).data[0]?.id).toBe(
      intent.id,
    );
  });

  it('take the money once under one idempotency key, whatever answer is lost', async () => {
    const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
    sandbox.control.failRequests({ method: 'POST', pathPrefix: '/v1/payment_intents', outcome: 'lost' });
    const retrying = stripeSdkFor(sandbox.baseUrl, 2);
    const options = { idempotencyKey: `pi:${customerId}` };
    const params = autoTopUp(customerId, paymentMethodId);
    const answers = await Promise.all([
      retrying.paymentIntents.create(params, options),
      retrying.paymentIntents.create(params, options),
    ]);
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    // The first one saved the card.
    expect((await stripe.charges.list({ customer: customerId })).data).toHaveLength(2);
  });

  it.each([
    ['pm_card_chargeDeclined', 'card_declined', 'generic_decline', 'try_again_later'],
    ['pm_card_visa_chargeDeclined', 'card_declined', 'generic_decline', 'try_again_later'],
    ['pm_card_chargeDeclinedInsufficientFunds', 'card_declined', 'insufficient_funds', 'try_again_later'],
    ['pm_card_visa_chargeDeclinedLostCard', 'card_declined', 'lost_card', 'do_not_try_again'],
    ['pm_card_visa_chargeDeclinedStolenCard', 'card_declined', 'stolen_card', 'do_not_try_again'],
    [
      'pm_card_visa_chargeDeclinedVelocityLimitExceeded',
      'card_declined',
      'card_velocity_exceeded',
      'try_again_later',
    ],
    ['pm_card_chargeDeclinedExpiredCard', 'expired_card', '', 'confirm_card_data'],
    ['pm_card_chargeDeclinedIncorrectCvc', 'incorrect_cvc', '', 'confirm_card_data'],
    ['pm_card_chargeDeclinedProcessingError', 'processing_error', '', 'try_again_later'],
    ['pm_card_chargeCustomerFail', 'card_declined', 'generic_decline', 'try_again_later'],
  ])('are declined with 402 by %s: %s', async (token, code, declineCode, adviceCode) => {
    const { id: customer } = await stripe.customers.create({});
    const before = count();
    const error = await cardErrorOf(stripe.paymentIntents.create(autoTopUp(customer, token)));
    expect(error).toMatchObject({ statusCode: 402, rawType: 'card_error', code, advice_code: adviceCode });
    // The SDK makes an empty string of a decline code that is not there.
    expect(error.decline_code).toBe(declineCode);
    expect(error.charge).toMatch(/^ch_/);
    const left = error.payment_intent as Stripe.PaymentIntent;
    expect(left).toMatchObject({
      object: 'payment_intent',
      amount_received: 0,
      last_payment_error: { code, advice_code: adviceCode, payment_method: { type: 'card' } },
      latest_charge: error.charge,
      metadata: { top_up_id: 'tu_2' },
      payment_method: null,
      status: 'requires_payment_method',
    });
    expect(await stripe.paymentIntents.retrieve(left.id)).toMatchObject({
      status: 'requires_payment_method',
    });
    expect(await stripe.charges.retrieve(String(error.charge))).toMatchObject({
      balance_transaction: null,
      failure_code: code,
      outcome: { advice_code: adviceCode, type: 'issuer_declined' },
      paid: false,
      status: 'failed',
    });
    expect(eventsSince(sandbox, before)).toEqual([
      'payment_intent.created',
      'charge.failed',
      'payment_intent.payment_failed',
    ]);
  });

  it.each([['pm_card_authenticationRequired'], ['pm_card_authenticationRequiredOnSetup']])(
    'need the customer with %s: authentication_required, and no charge',
    async (token) => {
      const { id: customer } = await stripe.customers.create({});
      const before = count();
      const error = await cardErrorOf(stripe.paymentIntents.create(autoTopUp(customer, token)));
      expect(error).toMatchObject({
        statusCode: 402,
        code: 'authentication_required',
        decline_code: 'authentication_required',
        message: 'Your card was declined. This transaction requires authentication.',
        payment_intent: { latest_charge: null, status: 'requires_payment_method' },
      });
      expect(eventsSince(sandbox, before)).toEqual([
        'payment_intent.created',
        'payment_intent.payment_failed',
      ]);
    },
  );

  it('need no authentication when the customer authenticated while the card was saved, unless the card always asks', async () => {
    const once = await saveCard(sandbox, stripe, '4000002500003155');
    expect(
      await stripe.paymentIntents.create(autoTopUp(once.customerId, once.paymentMethodId)),
    ).toMatchObject({ status: 'succeeded' });
    const always = await saveCard(sandbox, stripe, '4000002760003184');
    const refused = stripe.paymentIntents.create(autoTopUp(always.customerId, always.paymentMethodId));
    expect(await cardErrorOf(refused)).toMatchObject({ code: 'authentication_required' });
  });

  it('replay a decline under its idempotency key, and try again under another', async () => {
    const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
    await controlRoute(sandbox, `payment_methods/${paymentMethodId}/card`, { card: '4000000000009995' });
    const params = autoTopUp(customerId, paymentMethodId);
    const options = { idempotencyKey: `decline:${customerId}` };
    const first = await cardErrorOf(stripe.paymentIntents.create(params, options));
    expect(first.decline_code).toBe('insufficient_funds');
    await sandbox.control.changeCard(paymentMethodId, '4242424242424242');
    const second = await cardErrorOf(stripe.paymentIntents.create(params, options));
    expect(second.charge).toBe(first.charge);
    expect(await stripe.paymentIntents.create(params)).toMatchObject({ status: 'succeeded' });
    await expect(sandbox.control.changeCard(paymentMethodId, '1234')).rejects.toThrow('card number');
    await expect(sandbox.control.changeCard('pm_nobody', '4242424242424242')).rejects.toThrow('no object');
  });

  it('can be canceled while they wait for another card, and only then', async () => {
    const { id: customer } = await stripe.customers.create({});
    const error = await cardErrorOf(
      stripe.paymentIntents.create(autoTopUp(customer, 'pm_card_chargeDeclined')),
    );
    const { id } = error.payment_intent as Stripe.PaymentIntent;
    const canceled = await stripe.paymentIntents.cancel(id, { cancellation_reason: 'abandoned' });
    expect(canceled).toMatchObject({ status: 'canceled', cancellation_reason: 'abandoned' });
    expect(sandbox.control.events('payment_intent.canceled')[0]?.data.object).toMatchObject({ id });
    expect(await refusalOf(stripe.paymentIntents.cancel(id))).toMatchObject({
      statusCode: 400,
      code: 'payment_intent_unexpected_state',
      payment_intent: { id },
    });
    const { intent } = await payTopUp(sandbox, stripe);
    expect((await refusalOf(stripe.paymentIntents.cancel(intent.id))).message).toContain('Checkout Session');
  });

  it.each([
    [
      'without saying off_session',
      { off_session: undefined },
      'off_session left out',
      'sandbox_not_simulated',
    ],
    ['without confirming', { confirm: false }, 'confirm', 'sandbox_not_simulated'],
    ['of 49 cents', { amount: 49 }, 'amount', 'amount_too_small'],
    ['of a million dollars', { amount: 100_000_000 }, 'amount', 'amount_too_large'],
    ['of half a cent', { amount: 100.5 }, 'amount', 'parameter_invalid_integer'],
    ['in euros', { currency: 'eur' }, 'currency', undefined],
    ['of an unknown customer', { customer: 'cus_nobody' }, 'customer', 'resource_missing'],
    ['with no known card', { payment_method: 'pm_nobody' }, 'payment_method', 'resource_missing'],
    ['with no card at all', { payment_method: undefined }, undefined, 'payment_intent_unexpected_state'],
    [
      'that name payment_method_types',
      { payment_method_types: ['card'] },
      'payment_method_types',
      'parameter_unknown',
    ],
    ['that capture later', { capture_method: 'manual' }, 'capture_method', 'sandbox_not_simulated'],
    ['that also save the card', { setup_future_usage: 'off_session' }, undefined, undefined],
    ['with a misspelt parameter', { desciption: 'x' }, 'desciption', 'parameter_unknown'],
  ])('are refused %s', async (_what, overrides, param, code) => {
    const { id: customer } = await stripe.customers.create({});
    const before = (await stripe.paymentIntents.list({ customer })).data.length;
    const params = { ...autoTopUp(customer, 'pm_card_visa'), ...overrides } as CreateParams;
    const refused = await refusalOf(stripe.paymentIntents.create(params));
    expect(refused).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    expect([refused.param, refused.code]).toEqual([param, code]);
    expect((await stripe.paymentIntents.list({ customer })).data).toHaveLength(before);
  });

  it("never charge one customer with another one's card", async () => {
    const { paymentMethodId } = await saveCard(sandbox, stripe);
    const { id: stranger } = await stripe.customers.create({});
    const theirs = await refusalOf(stripe.paymentIntents.create(autoTopUp(stranger, paymentMethodId)));
    expect(theirs).toMatchObject({ statusCode: 400, param: 'payment_method' });
    const params: CreateParams = {
      amount: 500,
      currency: 'usd',
      payment_method: paymentMethodId,
      confirm: true,
    };
    const nobodys = await refusalOf(stripe.paymentIntents.create({ ...params, off_session: true }));
    expect(nobodys).toMatchObject({ statusCode: 400, param: 'customer', code: 'parameter_missing' });
    const attach = stripe.paymentMethods.attach(paymentMethodId, { customer: stranger });
    expect(await refusalOf(attach)).toMatchObject({ statusCode: 400 });
  });

  it('work with a card attached by token; one that is declined cannot be attached', async () => {
    const { id: customer } = await stripe.customers.create({});
    const attached = await stripe.paymentMethods.attach('pm_card_mastercard', { customer });
    expect(attached).toMatchObject({ customer, card: { brand: 'mastercard', last4: '4444' } });
    expect(await stripe.paymentIntents.create(autoTopUp(customer, attached.id))).toMatchObject({
      status: 'succeeded',
    });
    const declined = stripe.paymentMethods.attach('pm_card_visa_chargeDeclined', { customer });
    expect(await cardErrorOf(declined)).toMatchObject({ statusCode: 402, code: 'card_declined' });
    const later = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer });
    const charged = stripe.paymentIntents.create(autoTopUp(customer, later.id));
    expect(await cardErrorOf(charged)).toMatchObject({ code: 'card_declined' });
  });
});
