import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import {
  FORM,
  rawStripeRequest,
  refusalOf,
  stripeSdkFor,
  topUpSessionParams,
} from '../support/payments/sandbox-stripe-client.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

beforeAll(async () => {
  sandbox = await startSandboxStripe();
  stripe = stripeSdkFor(sandbox.baseUrl);
});

afterAll(() => sandbox.close());

describe('idempotency keys', () => {
  it('replays the first answer instead of doing it again', async () => {
    const options = { idempotencyKey: `topup:${Date.now()}` };
    const params = topUpSessionParams();
    const first = await stripe.checkout.sessions.create(params, options);
    const second = await stripe.checkout.sessions.create(params, options);
    expect(second.id).toBe(first.id);
    expect(first.lastResponse.headers['idempotent-replayed']).toBeUndefined();
    expect(second.lastResponse.headers).toMatchObject({
      'idempotent-replayed': 'true',
      'original-request': first.lastResponse.requestId,
    });
  });

  it('refuses the key for other parameters and for another route', async () => {
    const options = { idempotencyKey: `key:${Date.now()}` };
    await stripe.customers.create({ name: 'first' }, options);
    const otherBody = await refusalOf(stripe.customers.create({ name: 'second' }, options));
    expect(otherBody).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
    const otherRoute = await refusalOf(stripe.checkout.sessions.create(topUpSessionParams(), options));
    expect(otherRoute).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
  });

  it('replays an error that execution reached, and forgets one that validation found', async () => {
    const reached = { idempotencyKey: `reached:${Date.now()}` };
    const small = topUpSessionParams({
      line_items: [
        { quantity: 1, price_data: { currency: 'usd', unit_amount: 10, product_data: { name: 'x' } } },
      ],
    });
    const first = await refusalOf(stripe.checkout.sessions.create(small, reached));
    const second = await refusalOf(stripe.checkout.sessions.create(small, reached));
    expect([first.code, second.code]).toEqual(['amount_too_small', 'amount_too_small']);
    expect(second.headers?.['idempotent-replayed']).toBe('true');

    const found = { idempotencyKey: `found:${Date.now()}` };
    await refusalOf(stripe.customers.create({ emial: 'x' } as never, found));
    expect(await stripe.customers.create({ name: 'now right' }, found)).toMatchObject({ name: 'now right' });
  });

  it('answers 409 while the first request still runs, and 20 racing requests make one object', async () => {
    const key = `race:${Date.now()}`;
    sandbox.control.failRequests({ method: 'POST', pathPrefix: '/v1/customers', delayMs: 200 });
    const send = () =>
      rawStripeRequest(sandbox.baseUrl, '/v1/customers', {
        method: 'POST',
        headers: { ...FORM, 'idempotency-key': key },
        body: `description=${key}`,
      });
    const answers = await Promise.all(Array.from({ length: 20 }, send));
    const conflict = answers.find(({ status }) => status === 409);
    expect(conflict?.body.error).toMatchObject({ code: 'idempotency_key_in_use' });
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    const replay = await send();
    expect(replay.headers.get('idempotent-replayed')).toBe('true');
    const all = await stripe.customers.list({ limit: 100 });
    expect(all.data.filter(({ description }) => description === key)).toHaveLength(1);
  });

  it('lets the SDK recover an answer that was lost on the way, without doing the work twice', async () => {
    const retrying = stripeSdkFor(sandbox.baseUrl, 2);
    sandbox.control.failRequests({ method: 'POST', pathPrefix: '/v1/customers', outcome: 'lost' });
    const description = `lost ${Date.now()}`;
    const customer = await retrying.customers.create({ description }, { idempotencyKey: description });
    expect(customer.description).toBe(description);
    expect(customer.lastResponse.headers['idempotent-replayed']).toBe('true');
    const all = await stripe.customers.list({ limit: 100 });
    expect(all.data.filter((other) => other.description === description)).toHaveLength(1);
  });

  it('executes again after an outage that refused the request', async () => {
    sandbox.control.failRequests({ outcome: 503, times: 1 });
    const error = await refusalOf(stripe.customers.create({ name: 'n' }, { idempotencyKey: 'outage' }));
    expect(error).toMatchObject({ statusCode: 503, type: 'StripeAPIError' });
    expect(await stripe.customers.create({ name: 'n' }, { idempotencyKey: 'outage' })).toMatchObject({
      name: 'n',
    });
  });
});
