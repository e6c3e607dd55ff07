import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import {
  FORM,
  nowSeconds,
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

describe('strictness', () => {
  const creation = (overrides: Record<string, unknown>) =>
    stripe.checkout.sessions.create(topUpSessionParams(overrides));

  it.each([
    ['an unknown parameter', { credits: 5 }, 'credits', 'parameter_unknown'],
    [
      'payment_method_types, which Stripe removed',
      { payment_method_types: ['card'] },
      'payment_method_types',
      'parameter_unknown',
    ],
    ['an old ui_mode', { ui_mode: 'hosted' }, 'ui_mode', undefined],
    ['a ui_mode that is not simulated', { ui_mode: 'elements' }, 'ui_mode', 'sandbox_not_simulated'],
    [
      'a parameter that is not simulated',
      { discounts: [{ coupon: 'x' }] },
      'discounts',
      'sandbox_not_simulated',
    ],
    ['a missing mode', { mode: undefined }, 'mode', 'parameter_missing'],
    ['a missing success_url', { success_url: undefined }, 'success_url', 'parameter_missing'],
    ['a success_url that is none', { success_url: '/done' }, 'success_url', 'url_invalid'],
    ['a script as cancel_url', { cancel_url: 'javascript:alert(1)' }, 'cancel_url', 'url_invalid'],
    ['an empty string', { client_reference_id: '' }, 'client_reference_id', 'parameter_invalid_empty'],
    [
      'a reference that is too long',
      { client_reference_id: 'x'.repeat(201) },
      'client_reference_id',
      undefined,
    ],
    ['an unknown customer', { customer: 'cus_nobody' }, 'customer', 'resource_missing'],
    ['an expiry too soon', { expires_at: nowSeconds() + 60 }, 'expires_at', undefined],
    ['an expiry too late', { expires_at: nowSeconds() + 25 * 3_600 }, 'expires_at', undefined],
    ['a fractional expiry', { expires_at: 1.5 }, 'expires_at', 'parameter_invalid_integer'],
    ['a word as boolean', { adaptive_pricing: { enabled: 'yes' } }, 'adaptive_pricing[enabled]', undefined],
    [
      'an unknown nested parameter',
      { invoice_creation: { enable: true } },
      'invoice_creation[enable]',
      'parameter_unknown',
    ],
    ['a string instead of an object', { payment_intent_data: 'x' }, 'payment_intent_data', undefined],
    ['a metadata value that is too long', { metadata: { a: 'x'.repeat(501) } }, 'metadata[a]', undefined],
    ['no line items', { line_items: undefined }, 'line_items', 'parameter_missing'],
  ])('refuses %s and names the parameter', async (_what, overrides, param, code) => {
    const error = await refusalOf(creation(overrides));
    expect(error).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError', param });
    expect(error.code).toBe(code);
    expect(error.requestId).toMatch(/^req_/);
  });

  it.each([
    ['a fraction of a cent', { unit_amount: 10.5 }, 'line_items[0][price_data][unit_amount]'],
    ['a negative amount', { unit_amount: -1 }, 'line_items[0][price_data][unit_amount]'],
    ['an amount in words', { unit_amount: 'ten' }, 'line_items[0][price_data][unit_amount]'],
    ['not a number', { unit_amount: Number.NaN }, 'line_items[0][price_data][unit_amount]'],
    ['an amount in exponent form', { unit_amount: '1e3' }, 'line_items[0][price_data][unit_amount]'],
    ['a huge amount', { unit_amount: '99999999999999999999' }, 'line_items[0][price_data][unit_amount]'],
    ['another currency', { currency: 'eur' }, 'line_items[0][price_data][currency]'],
    ['a currency in capitals', { currency: 'USD' }, 'line_items[0][price_data][currency]'],
    ['an unknown member', { price: 3 }, 'line_items[0][price_data][price]'],
    [
      'a product without a name',
      { product_data: { description: 'x' } },
      'line_items[0][price_data][product_data][name]',
    ],
  ])('refuses a line item with %s', async (_what, priceData, param) => {
    const item = { currency: 'usd', unit_amount: 1_000, product_data: { name: 'API credit' }, ...priceData };
    const error = await refusalOf(creation({ line_items: [{ quantity: 1, price_data: item }] }));
    expect(error).toMatchObject({ statusCode: 400, param });
  });

  it.each([
    ['49 cents', 49, 'amount_too_small'],
    ['a million dollars', 99_999_999, 'amount_too_large'],
  ])('refuses a total of %s', async (_what, amount, code) => {
    const item = (unitAmount: number) => ({
      quantity: 1,
      price_data: { currency: 'usd', unit_amount: unitAmount, product_data: { name: 'API credit' } },
    });
    const items = amount < 50 ? [item(amount)] : [item(amount), item(1)];
    expect(await refusalOf(creation({ line_items: items }))).toMatchObject({
      statusCode: 400,
      code,
      param: 'line_items',
    });
  });

  it('answers the whole error body that Stripe answers', async () => {
    const answer = await rawStripeRequest(sandbox.baseUrl, '/v1/customers', {
      method: 'POST',
      headers: FORM,
      body: 'emial=a%40b.c',
    });
    expect(answer).toMatchObject({
      status: 400,
      body: {
        error: {
          type: 'invalid_request_error',
          code: 'parameter_unknown',
          doc_url: 'https://stripe.com/docs/error-codes/parameter-unknown',
          message: 'Received unknown parameter: emial',
          param: 'emial',
        },
      },
    });
    expect(answer.headers.get('request-id')).toMatch(/^req_/);
    expect(answer.headers.get('stripe-version')).toBe('2026-10-28.endive');
  });

  it.each([
    ['no key', null],
    ['a live key', 'sk_live_abc'],
    ['a publishable key', 'pk_test_abc'],
    ['garbage', 'hunter2'],
  ])('answers 401 to %s', async (_what, key) => {
    const answer = await rawStripeRequest(sandbox.baseUrl, '/v1/customers', { key });
    expect(answer).toMatchObject({ status: 401, body: { error: { type: 'invalid_request_error' } } });
    expect(JSON.stringify(answer.body)).not.toContain('live_abc');
  });

  it('accepts the key as curl -u sends it', async () => {
    const basic = `Basic ${Buffer.from('sk_test_curl:').toString('base64')}`;
    expect(
      (
        await rawStripeRequest(sandbox.baseUrl, '/v1/customers', {
          key: null,
          headers: { authorization: basic },
        })
      ).status,
    ).toBe(200);
  });

  it('refuses JSON bodies, other API versions, and a POST with a query', async () => {
    const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
    const refused = await rawStripeRequest(sandbox.baseUrl, '/v1/customers', json);
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toContain('form-urlencoded');
    expect(
      (
        await rawStripeRequest(sandbox.baseUrl, '/v1/customers', {
          headers: { 'stripe-version': '2020-08-27' },
        })
      ).status,
    ).toBe(400);
    expect(
      (await rawStripeRequest(sandbox.baseUrl, '/v1/customers?name=x', { method: 'POST', headers: FORM }))
        .status,
    ).toBe(400);
  });

  it.each([
    ['a bracket that does not close', 'metadata[a=1'],
    ['a value and a hash under one name', 'metadata=1&metadata[a]=2'],
    ['the same parameter twice', 'name=a&name=b'],
    ['a prototype', '__proto__[polluted]=1'],
    ['endless nesting', `a${'[b]'.repeat(50)}=1`],
    [
      'thousands of parameters',
      Array.from({ length: 3_000 }, (_, index) => `metadata[k${index}]=1`).join('&'),
    ],
  ])('refuses %s', async (_what, body) => {
    const answer = await rawStripeRequest(sandbox.baseUrl, '/v1/customers', {
      method: 'POST',
      headers: FORM,
      body,
    });
    expect(answer).toMatchObject({ status: 400, body: { error: { type: 'invalid_request_error' } } });
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('answers 404 resource_missing for unknown ids, and 404 for unknown routes', async () => {
    const missing = [
      stripe.checkout.sessions.retrieve('cs_test_nobody'),
      stripe.customers.retrieve('cus_nobody'),
      stripe.paymentIntents.retrieve('pi_nobody'),
      stripe.charges.retrieve('ch_nobody'),
      stripe.events.retrieve('evt_nobody'),
      stripe.balanceTransactions.retrieve('txn_nobody'),
      stripe.webhookEndpoints.retrieve('we_nobody'),
    ];
    for (const request of missing) {
      expect(await refusalOf(request)).toMatchObject({ statusCode: 404, code: 'resource_missing' });
    }
    expect(await rawStripeRequest(sandbox.baseUrl, '/v1/subscriptions')).toMatchObject({
      status: 404,
      body: { error: { type: 'invalid_request_error' } },
    });
  });

  it('refuses expansions that Stripe has not, and more than four levels', async () => {
    const { id } = await stripe.checkout.sessions.create(topUpSessionParams());
    const expand = (path: string) => refusalOf(stripe.checkout.sessions.retrieve(id, { expand: [path] }));
    expect(await expand('wallet')).toMatchObject({ statusCode: 400, param: 'expand[0]' });
    expect(await expand('__proto__')).toMatchObject({ statusCode: 400, param: 'expand[0]' });
    expect(await expand('a.b.c.d.e')).toMatchObject({ statusCode: 400, param: 'expand[0]' });
  });
});

describe('lists', () => {
  it('pages newest first through every object exactly once, in both directions', async () => {
    const email = `list-${Date.now()}@example.com`;
    const made: string[] = [];
    for (let index = 0; index < 7; index += 1) made.push((await stripe.customers.create({ email })).id);
    const seen: string[] = [];
    for await (const customer of stripe.customers.list({ email, limit: 3 })) seen.push(customer.id);
    expect(seen).toEqual(made.toReversed());

    const back = await stripe.customers.list({ email, limit: 2, ending_before: seen[4] as string });
    expect(back).toMatchObject({ has_more: true, url: '/v1/customers' });
    expect(back.data.map(({ id }) => id)).toEqual(seen.slice(2, 4));
    expect(await refusalOf(stripe.customers.list({ limit: 101 }))).toMatchObject({
      statusCode: 400,
      param: 'limit',
    });
    expect(await refusalOf(stripe.customers.list({ starting_after: 'cus_nobody' }))).toMatchObject({
      statusCode: 400,
      param: 'starting_after',
      code: 'resource_missing',
    });
  });

  it('filters by creation time, sessions by status and line items by page', async () => {
    const { id } = await stripe.checkout.sessions.create(topUpSessionParams());
    const now = nowSeconds();
    const recent = await stripe.checkout.sessions.list({
      created: { gte: now - 60 },
      status: 'open',
      limit: 100,
    });
    expect(recent.data.map((session) => session.id)).toContain(id);
    expect((await stripe.checkout.sessions.list({ created: { gt: now + 60 } })).data).toEqual([]);
    expect((await stripe.checkout.sessions.list({ created: { lte: now - 3_600 } })).data).toEqual([]);
    const items = await stripe.checkout.sessions.listLineItems(id, { limit: 1 });
    expect(items).toMatchObject({ has_more: true, data: [{ description: 'API credit' }] });
  });
});
