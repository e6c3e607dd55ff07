import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from '../../src/sandbox/stripe/server.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

function sdkFor(baseUrl: string, maxNetworkRetries = 0): Stripe {
  const { hostname, port } = new URL(baseUrl);
  return new Stripe('sk_test_sandbox', {
    host: hostname,
    port,
    protocol: 'http',
    maxNetworkRetries,
    telemetry: false,
  });
}

beforeAll(async () => {
  sandbox = await startSandboxStripe();
  stripe = sdkFor(sandbox.baseUrl);
});

afterAll(() => sandbox.close());

const nowSeconds = (): number => Math.floor(Date.now() / 1_000);

function topUpSession(
  overrides: Partial<Stripe.Checkout.SessionCreateParams> = {},
): Stripe.Checkout.SessionCreateParams {
  const priceData = (amount: number, name: string) => ({
    currency: 'usd',
    unit_amount: amount,
    product_data: { name },
  });
  return {
    mode: 'payment',
    client_reference_id: 'tu_1',
    line_items: [
      { quantity: 1, price_data: priceData(1_000, 'API credit') },
      { quantity: 1, price_data: priceData(50, 'Platform fee (5%)') },
    ],
    payment_intent_data: { metadata: { top_up_id: 'tu_1' }, description: 'API credit' },
    metadata: { top_up_id: 'tu_1' },
    invoice_creation: { enabled: true, invoice_data: { metadata: { top_up_id: 'tu_1' } } },
    adaptive_pricing: { enabled: false },
    expires_at: nowSeconds() + 35 * 60,
    success_url: 'http://127.0.0.1:1/done?session_id={CHECKOUT_SESSION_ID}',
    cancel_url: 'http://127.0.0.1:1/back',
    ...overrides,
  };
}

async function refusalOf(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof Stripe.errors.StripeError) return error;
  throw new Error(`expected a Stripe error, got ${String(error)}`);
}

/** A request that the SDK would never send. */
async function raw(path: string, init: RequestInit & { key?: string | null } = {}) {
  const { key = 'sk_test_sandbox', headers, ...rest } = init;
  const response = await fetch(`${sandbox.baseUrl}${path}`, {
    ...rest,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(headers as Record<string, string>),
    },
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as any };
}

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

describe('a top-up through the real SDK', () => {
  it('walks from customer to session to payment to charge to balance transaction, with our ids on each', async () => {
    const customer = await stripe.customers.create({
      email: 'ada@example.com',
      name: 'Ada',
      metadata: { account_id: 'a1' },
    });
    expect(customer).toMatchObject({
      object: 'customer',
      livemode: false,
      email: 'ada@example.com',
      metadata: { account_id: 'a1' },
    });
    expect(await stripe.customers.retrieve(customer.id)).toMatchObject({ id: customer.id });

    const session = await stripe.checkout.sessions.create(topUpSession({ customer: customer.id }));
    expect(session.id).toMatch(/^cs_test_/);
    expect(session).toMatchObject({
      object: 'checkout.session',
      amount_subtotal: 1_050,
      amount_total: 1_050,
      client_reference_id: 'tu_1',
      currency: 'usd',
      customer: customer.id,
      livemode: false,
      metadata: { top_up_id: 'tu_1' },
      mode: 'payment',
      payment_intent: null,
      payment_status: 'unpaid',
      status: 'open',
      ui_mode: 'hosted_page',
      url: `${sandbox.baseUrl}/c/pay/${session.id}`,
    });
    expect(session).not.toHaveProperty('line_items');

    const paid = await fetch(`${session.url}/pay`, {
      method: 'POST',
      headers: { accept: 'application/json' },
    });
    expect(paid.status).toBe(200);
    expect(await paid.json()).toMatchObject({
      status: 'paid',
      session: { id: session.id, status: 'complete' },
    });

    const read = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent.latest_charge.balance_transaction', 'line_items', 'customer'],
    });
    expect(read).toMatchObject({
      customer: { id: customer.id },
      customer_details: { email: 'ada@example.com', name: 'Ada' },
      payment_status: 'paid',
      status: 'complete',
      url: null,
      payment_intent: {
        object: 'payment_intent',
        amount: 1_050,
        amount_received: 1_050,
        metadata: { top_up_id: 'tu_1' },
        status: 'succeeded',
        latest_charge: {
          object: 'charge',
          amount: 1_050,
          paid: true,
          metadata: { top_up_id: 'tu_1' },
          // 2.9% of $10.50 is 30.45 cents, rounded half up, and 30 cents on top.
          balance_transaction: {
            object: 'balance_transaction',
            amount: 1_050,
            fee: 60,
            net: 990,
            reporting_category: 'charge',
          },
        },
      },
    });
    expect(read.line_items?.data.map((item) => [item.description, item.amount_total])).toEqual([
      ['API credit', 1_000],
      ['Platform fee (5%)', 50],
    ]);

    const intentId = (read.payment_intent as Stripe.PaymentIntent).id;
    const intent = await stripe.paymentIntents.retrieve(intentId, { expand: ['latest_charge'] });
    const charge = intent.latest_charge as Stripe.Charge;
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({
      id: charge.id,
      payment_intent: intentId,
    });
    const byIntent = await stripe.checkout.sessions.list({ payment_intent: intentId });
    expect(byIntent.data.map(({ id }) => id)).toEqual([session.id]);

    const events = await stripe.events.list({
      types: ['checkout.session.completed', 'payment_intent.succeeded', 'charge.succeeded'],
    });
    expect(events.data.map(({ type }) => type)).toEqual([
      'checkout.session.completed',
      'payment_intent.succeeded',
      'charge.succeeded',
    ]);
    const completed = events.data[0] as Stripe.Event;
    expect(completed).toMatchObject({
      api_version: '2026-10-28.endive',
      livemode: false,
      data: { object: { id: session.id } },
    });
    expect(await stripe.events.retrieve(completed.id)).toMatchObject({ id: completed.id });
  });

  it('keeps a declined session open, and the second card settles the same payment intent', async () => {
    const session = await stripe.checkout.sessions.create(topUpSession());
    const declined = await sandbox.control.pay(session.id, '4000 0000 0000 0002');
    expect(declined).toMatchObject({
      status: 'declined',
      error: { code: 'card_declined', decline_code: 'generic_decline' },
    });
    const open = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent.latest_charge'],
    });
    expect(open).toMatchObject({
      status: 'open',
      payment_status: 'unpaid',
      payment_intent: {
        status: 'requires_payment_method',
        last_payment_error: { code: 'card_declined' },
        latest_charge: { status: 'failed', paid: false, balance_transaction: null },
      },
    });
    expect(sandbox.control.events('payment_intent.payment_failed')).toHaveLength(1);

    expect(await sandbox.control.pay(session.id)).toMatchObject({ status: 'paid' });
    const complete = await stripe.checkout.sessions.retrieve(session.id);
    expect(complete.payment_intent).toBe((open.payment_intent as Stripe.PaymentIntent).id);
  });

  it('takes the money of one session once, however often and however concurrently it is paid', async () => {
    const session = await stripe.checkout.sessions.create(topUpSession());
    const pay = () =>
      fetch(`${session.url}/pay`, { method: 'POST', headers: { accept: 'application/json' } });
    const answers = await Promise.all(Array.from({ length: 20 }, pay));
    expect(answers.map(({ status }) => status).sort()).toEqual([
      200,
      ...Array.from({ length: 19 }, () => 409),
    ]);
    const { payment_intent: intentId } = await stripe.checkout.sessions.retrieve(session.id);
    const charges = await stripe.charges.list({ payment_intent: intentId as string });
    expect(charges.data).toHaveLength(1);
  });

  it('lets nobody pay an expired session', async () => {
    const session = await stripe.checkout.sessions.create(topUpSession());
    expect(await stripe.checkout.sessions.expire(session.id)).toMatchObject({ status: 'expired', url: null });
    expect(await sandbox.control.pay(session.id)).toMatchObject({ status: 'expired' });
    const again = await refusalOf(stripe.checkout.sessions.expire(session.id));
    expect(again).toMatchObject({ statusCode: 400, type: 'StripeInvalidRequestError' });
    expect(sandbox.control.events('checkout.session.expired')[0]?.data.object).toMatchObject({
      id: session.id,
    });
  });

  it('expires a session by itself once its time is over', async () => {
    const session = await stripe.checkout.sessions.create(topUpSession());
    await sandbox.control.overrideCheckoutSession(session.id, { expires_at: nowSeconds() - 1 });
    expect(await sandbox.control.pay(session.id)).toMatchObject({ status: 'expired' });
    let status: string | null = 'open';
    for (let tries = 0; tries < 40 && status === 'open'; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      ({ status } = await stripe.checkout.sessions.retrieve(session.id));
    }
    expect(status).toBe('expired');
  });
});

describe('strictness', () => {
  const creation = (overrides: Record<string, unknown>) =>
    stripe.checkout.sessions.create(topUpSession(overrides as never));

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
    ['a customer nobody knows', { customer: 'cus_nobody' }, 'customer', 'resource_missing'],
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
    const answer = await raw('/v1/customers', { method: 'POST', headers: FORM, body: 'emial=a%40b.c' });
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
    const answer = await raw('/v1/customers', { key });
    expect(answer).toMatchObject({ status: 401, body: { error: { type: 'invalid_request_error' } } });
    expect(JSON.stringify(answer.body)).not.toContain('live_abc');
  });

  it('accepts the key as curl -u sends it', async () => {
    const basic = `Basic ${Buffer.from('sk_test_curl:').toString('base64')}`;
    expect((await raw('/v1/customers', { key: null, headers: { authorization: basic } })).status).toBe(200);
  });

  it('refuses JSON bodies, other API versions, and a POST with a query', async () => {
    const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
    const refused = await raw('/v1/customers', json);
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toContain('form-urlencoded');
    expect((await raw('/v1/customers', { headers: { 'stripe-version': '2020-08-27' } })).status).toBe(400);
    expect((await raw('/v1/customers?name=x', { method: 'POST', headers: FORM })).status).toBe(400);
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
    const answer = await raw('/v1/customers', { method: 'POST', headers: FORM, body });
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
    expect(await raw('/v1/subscriptions')).toMatchObject({
      status: 404,
      body: { error: { type: 'invalid_request_error' } },
    });
  });

  it('refuses expansions that Stripe has not, and more than four levels', async () => {
    const { id } = await stripe.checkout.sessions.create(topUpSession());
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
    const { id } = await stripe.checkout.sessions.create(topUpSession());
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

describe('idempotency keys', () => {
  it('replays the first answer instead of doing it again', async () => {
    const options = { idempotencyKey: `topup:${Date.now()}` };
    const params = topUpSession();
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
    const otherRoute = await refusalOf(stripe.checkout.sessions.create(topUpSession(), options));
    expect(otherRoute).toMatchObject({ statusCode: 400, type: 'StripeIdempotencyError' });
  });

  it('replays an error that execution reached, and forgets one that validation found', async () => {
    const reached = { idempotencyKey: `reached:${Date.now()}` };
    const small = topUpSession({
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
      raw('/v1/customers', {
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
    const retrying = sdkFor(sandbox.baseUrl, 2);
    sandbox.control.failRequests({ method: 'POST', pathPrefix: '/v1/customers', outcome: 'lost' });
    const description = `lost ${Date.now()}`;
    const customer = await retrying.customers.create({ description }, { idempotencyKey: description });
    expect(customer.description).toBe(description);
    expect(customer.lastResponse.headers['idempotent-replayed']).toBe('true');
    const all = await stripe.customers.list({ limit: 100 });
    expect(all.data.filter((other) => other.description === description)).toHaveLength(1);
  });

  it('executes anew after an outage that refused the request', async () => {
    sandbox.control.failRequests({ outcome: 503, times: 1 });
    const error = await refusalOf(stripe.customers.create({ name: 'n' }, { idempotencyKey: 'outage' }));
    expect(error).toMatchObject({ statusCode: 503, type: 'StripeAPIError' });
    expect(await stripe.customers.create({ name: 'n' }, { idempotencyKey: 'outage' })).toMatchObject({
      name: 'n',
    });
  });
});

describe('the payment page', () => {
  const html = async (url: string, init?: RequestInit) => {
    const response = await fetch(url, { redirect: 'manual', ...init });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };

  it('shows what is bought, says that it is a sandbox, and escapes everything a caller wrote', async () => {
    const name = '<script>alert("x")</script> & \'credit\'';
    const { url } = await stripe.checkout.sessions.create(
      topUpSession({
        line_items: [
          { quantity: 3, price_data: { currency: 'usd', unit_amount: 1_050, product_data: { name } } },
        ],
      }),
    );
    const page = await html(url as string);
    expect(page.status).toBe(200);
    expect(page.text).toContain('SANDBOX');
    expect(page.text).toContain('$31.50');
    expect(page.text).toContain('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;credit&#39;');
    expect(page.text).not.toContain('<script');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
  });

  it('sends the browser on to success_url with the session id filled in', async () => {
    const { url, id } = await stripe.checkout.sessions.create(topUpSession());
    const paid = await html(`${url}/pay`, { method: 'POST', headers: FORM, body: 'card=4242424242424242' });
    expect(paid.status).toBe(303);
    expect(paid.headers.get('location')).toBe(`http://127.0.0.1:1/done?session_id=${id}`);
    const again = await html(`${url}/pay`, { method: 'POST', headers: FORM, body: 'card=4242424242424242' });
    expect(again.status).toBe(409);
    expect(again.text).toContain('Already paid');
    expect((await html(url as string)).text).toContain('Already paid');
  });

  it('shows a decline as an alert on the same page, and refuses numbers that are no test card', async () => {
    const { url } = await stripe.checkout.sessions.create(topUpSession());
    const declined = await html(`${url}/pay`, {
      method: 'POST',
      headers: FORM,
      body: 'card=4000000000000002',
    });
    expect(declined.status).toBe(402);
    expect(declined.text).toContain('role="alert"');
    expect(declined.text).toContain('Your card was declined.');
    const unknown = await html(`${url}/pay`, { method: 'POST', headers: FORM, body: 'card=5555' });
    expect(unknown.status).toBe(400);
    expect((await stripe.checkout.sessions.list({ limit: 1 })).data[0]).toMatchObject({
      payment_status: 'unpaid',
    });
  });

  it('answers 410 when the time is over and 404 when there is nothing', async () => {
    const { url, id } = await stripe.checkout.sessions.create(topUpSession());
    await stripe.checkout.sessions.expire(id);
    expect((await html(url as string)).status).toBe(410);
    expect((await html(`${url}/pay`, { method: 'POST' })).status).toBe(410);
    expect((await html(`${sandbox.baseUrl}/c/pay/cs_test_nobody`)).status).toBe(404);
  });
});
