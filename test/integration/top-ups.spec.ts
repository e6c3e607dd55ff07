import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import type { TestCustomer } from '../support/app/test-app.js';
import { expectCreditedOnce, sessionIdOf, settled, startTopUp } from '../fixtures/top-up-books.js';

const SESSIONS = '/v1/checkout/sessions';

let app: SharedShop;
let control: SandboxStripeControl;
let customer: TestCustomer;

beforeAll(async () => {
  app = await sharedShop();
  control = app.control;
  customer = await app.createCustomer();
});

afterEach(() => {
  control.clearFaults();
  jest.restoreAllMocks();
});

/** What the sandbox has, as Stripe's dashboard would show it. */
async function fromStripe(path: string): Promise<Record<string, unknown>> {
  const headers = { authorization: `Bearer ${app.settings.stripe?.secretKey}` };
  return (await (await fetch(`${app.stripe?.baseUrl}${path}`, { headers })).json()) as Record<
    string,
    unknown
  >;
}

async function rowsOf({ accountId }: TestCustomer): Promise<Record<string, unknown>[]> {
  return app.dataSource.query(
    'SELECT id, status, failure_code FROM top_ups WHERE account_id = $1 ORDER BY id',
    [accountId],
  );
}

describe('POST /v1/top_ups', () => {
  it('opens a payment page for credit plus fee, and says what will be paid', async () => {
    const answer = await customer.client.post('/v1/top_ups', { credit_cents: 1_000, save_card: true });
    expect(answer.expect(201).body).toEqual({
      object: 'top_up',
      id: expect.stringMatching(/^tu_[0-9A-Z]{26}$/),
      kind: 'checkout',
      status: 'pending',
      credit_micros: '10000000',
      fee_micros: '500000',
      charge_cents: 1_050,
      tax_micros: '0',
      currency: 'usd',
      checkout_url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/c\/pay\/cs_test_/),
      invoice_url: null,
      receipt_url: null,
      save_card: true,
      failure_code: null,
      decline_code: null,
      livemode: false,
      created: expect.any(Number),
      expires_at: expect.any(Number),
      paid_at: null,
    });
    const { id, checkout_url: url, expires_at: expiresAt } = answer.body as Record<string, unknown>;
    expect(await fromStripe(`${SESSIONS}/${sessionIdOf(String(url))}`)).toMatchObject({
      amount_total: 1_050,
      client_reference_id: id,
      metadata: { top_up_id: id, account_id: customer.accountId },
      expires_at: expiresAt,
      success_url: `${app.url}/checkout/complete?top_up=${String(id)}&session={CHECKOUT_SESSION_ID}`,
      cancel_url: `${app.url}/checkout/canceled?top_up=${String(id)}`,
    });
  });

  it('leads back to the pages that the client named, or to ours, which exist', async () => {
    const urls = {
      success_url: 'https://example.com/thanks?x={CHECKOUT_SESSION_ID}',
      cancel_url: 'http://localhost:5173/',
    };
    const { sessionId } = await startTopUp(app, urls);
    expect(await fromStripe(`${SESSIONS}/${sessionId}`)).toMatchObject(urls);
    for (const path of ['/checkout/complete', '/checkout/canceled']) {
      const page = await app.client(null).get(`${path}?top_up=tu_x`);
      expect(page.expect(200).headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(page.body).toContain('<h1>');
    }
  });

  it('names the account on its Stripe customer, for support and finance', async () => {
    const named = await app.createCustomer({ name: 'Ünïcode & Söhne GmbH' });
    const { body } = (await named.client.post('/v1/top_ups', { credit_cents: 500 })).expect(201);
    const session = await fromStripe(`${SESSIONS}/${sessionIdOf(String(body.checkout_url))}`);
    expect(await fromStripe(`/v1/customers/${String(session['customer'])}`)).toMatchObject({
      name: 'Ünïcode & Söhne GmbH',
      metadata: { account_id: named.accountId },
    });
  });

  it('keeps one Stripe customer an account, however many top-ups begin at once', async () => {
    const fresh = await app.createCustomer();
    const answers = await Promise.all(
      [1, 2, 3, 4, 5].map(() => fresh.client.post('/v1/top_ups', { credit_cents: 500 })),
    );
    const sessions = await Promise.all(
      answers.map(({ body }) => fromStripe(`${SESSIONS}/${sessionIdOf(String(body.checkout_url))}`)),
    );
    expect(new Set(sessions.map((session) => session['customer'])).size).toBe(1);
    expect(new Set(sessions.map((session) => session['id'])).size).toBe(5);
  });

  const refused: readonly (readonly [string, unknown, string, string])[] = [
    ['less than the minimum', { credit_cents: 499 }, 'amount_out_of_range', 'credit_cents'],
    ['more than the maximum', { credit_cents: 1_000_001 }, 'amount_out_of_range', 'credit_cents'],
    ['nothing', { credit_cents: 0 }, 'invalid_request', 'credit_cents'],
    ['less than nothing', { credit_cents: -1_000 }, 'invalid_request', 'credit_cents'],
    ['a fraction of a cent', { credit_cents: 1_000.5 }, 'invalid_request', 'credit_cents'],
    ['text', { credit_cents: '1000' }, 'invalid_request', 'credit_cents'],
    ['a huge number', { credit_cents: 1e300 }, 'invalid_request', 'credit_cents'],
    ['no amount', {}, 'invalid_request', 'credit_cents'],
    ['null', { credit_cents: null }, 'invalid_request', 'credit_cents'],
    ['a list', { credit_cents: [1_000] }, 'invalid_request', 'credit_cents'],
    ['an unknown field', { credit_cents: 1_000, credit_micros: '1' }, 'invalid_request', 'credit_micros'],
    ['a card that is text', { credit_cents: 1_000, save_card: 'yes' }, 'invalid_request', 'save_card'],
    [
      'a script for a URL',
      { credit_cents: 1_000, success_url: 'javascript:alert(1)' },
      'invalid_request',
      'success_url',
    ],
    [
      'a file for a URL',
      { credit_cents: 1_000, cancel_url: 'file:///etc/passwd' },
      'invalid_request',
      'cancel_url',
    ],
    ['a relative URL', { credit_cents: 1_000, success_url: '/thanks' }, 'invalid_request', 'success_url'],
    [
      'a URL with a password',
      { credit_cents: 1_000, success_url: 'https://a:b@example.com' },
      'invalid_request',
      'success_url',
    ],
    [
      'a URL with a line break',
      { credit_cents: 1_000, success_url: 'https://example.com/\nX: y' },
      'invalid_request',
      'success_url',
    ],
    [
      'a URL without end',
      { credit_cents: 1_000, success_url: `https://example.com/${'x'.repeat(3_000)}` },
      'invalid_request',
      'success_url',
    ],
  ];

  it.each(refused)('refuses %s, and writes nothing', async (_what, body, code, param) => {
    const stranger = await app.createCustomer();
    const answer = await stranger.client.post('/v1/top_ups', body);
    expect(answer.expect(400).body.error).toMatchObject({ code, param });
    expect(await rowsOf(stranger)).toEqual([]);
  });

  it('takes null for what may be left out', async () => {
    await startTopUp(app, { save_card: null, success_url: null, cancel_url: null });
  });

  it('needs the scope wallet:write, and wallet:read to look', async () => {
    const reader = await app.createCustomer({ scopes: ['wallet:read'] });
    const writer = await app.createCustomer({ scopes: ['wallet:write'] });
    (await reader.client.post('/v1/top_ups', { credit_cents: 1_000 })).expect(403);
    (await reader.client.get('/v1/top_ups')).expect(200);
    (await writer.client.post('/v1/top_ups', { credit_cents: 1_000 })).expect(201);
    (await writer.client.get('/v1/top_ups')).expect(403);
    (await app.client(null).post('/v1/top_ups', { credit_cents: 1_000 })).expect(401);
    (await app.operator.post('/v1/top_ups', { credit_cents: 1_000 })).expect(403);
  });
});

describe('an Idempotency-Key', () => {
  const body = { credit_cents: 2_000, success_url: 'https://example.com/a' };

  it('finds the same top-up again, bare or quoted, and says so', async () => {
    const owner = await app.createCustomer();
    const first = await owner.client.post('/v1/top_ups', body, { 'idempotency-key': 'k-1' });
    expect(first.expect(201).headers.get('idempotent-replayed')).toBe('false');
    for (const key of ['k-1', '"k-1"']) {
      const again = await owner.client.post('/v1/top_ups', body, { 'idempotency-key': key });
      expect(again.expect(201).body).toEqual(first.body);
      expect(again.headers.get('idempotent-replayed')).toBe('true');
    }
    expect(await rowsOf(owner)).toHaveLength(1);
  });

  it('is refused with another body, and belongs to its account alone', async () => {
    const owner = await app.createCustomer();
    const key = { 'idempotency-key': 'k-2' };
    const mine = (await owner.client.post('/v1/top_ups', body, key)).expect(201);
    for (const other of [
      { ...body, credit_cents: 2_001 },
      { ...body, save_card: true },
      { credit_cents: 2_000 },
    ]) {
      const answer = await owner.client.post('/v1/top_ups', other, key);
      expect(answer.expect(422).body.error.code).toBe('idempotency_key_reused');
    }
    expect(await rowsOf(owner)).toHaveLength(1);
    const theirs = (await customer.client.post('/v1/top_ups', body, key)).expect(201);
    expect(theirs.body.id).not.toBe(mine.body.id);
  });

  it('makes one top-up and one payment page of ten requests at the same time', async () => {
    const owner = await app.createCustomer();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => owner.client.post('/v1/top_ups', body, { 'idempotency-key': 'k-3' })),
    );
    expect(new Set(answers.map((answer) => answer.expect(201).body.id)).size).toBe(1);
    expect(new Set(answers.map((answer) => answer.body.checkout_url)).size).toBe(1);
    expect(await rowsOf(owner)).toHaveLength(1);
  });

  it('shows the present status of the top-up, when it was paid in the meantime', async () => {
    const owner = await app.createCustomer();
    const key = { 'idempotency-key': 'k-4' };
    const first = await owner.client.post('/v1/top_ups', body, key);
    await control.pay(sessionIdOf(String(first.expect(201).body.checkout_url)));
    await settled(app);
    const again = await owner.client.post('/v1/top_ups', body, key);
    expect(again.expect(201).body).toMatchObject({ id: first.body.id, status: 'paid', checkout_url: null });
  });

  it('must be visible ASCII', async () => {
    const answer = await customer.client.post('/v1/top_ups', body, { 'idempotency-key': 'x'.repeat(256) });
    expect(answer.expect(400).body.error.code).toBe('invalid_request');
  });
});

describe('when Stripe fails', () => {
  const failing = (outcome: number | 'lost' | 'reset', times = 3) =>
    control.failRequests({ method: 'POST', pathPrefix: SESSIONS, outcome, times });

  it('answers 503, says so on the row, and charges no one', async () => {
    const owner = await app.createCustomer();
    failing(500);
    const answer = await owner.client.post('/v1/top_ups', { credit_cents: 1_000 });
    expect(answer.expect(503).body.error).toMatchObject({
      code: 'payments_unavailable',
      type: 'service_unavailable',
    });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await rowsOf(owner)).toMatchObject([{ status: 'failed', failure_code: 'payments_unavailable' }]);
  });

  it('goes on with the same key where it ended, after a lost answer too: one page, one credit', async () => {
    const owner = await app.createCustomer();
    const key = { 'idempotency-key': 'after-the-outage' };
    failing('lost');
    (await owner.client.post('/v1/top_ups', { credit_cents: 1_000 }, key)).expect(503);
    expect(await rowsOf(owner)).toMatchObject([{ status: 'created', failure_code: 'payments_unavailable' }]);
    const again = (await owner.client.post('/v1/top_ups', { credit_cents: 1_000 }, key)).expect(201);
    expect(again.body).toMatchObject({ status: 'pending', failure_code: null });
    const sessionId = sessionIdOf(String(again.body.checkout_url));
    const sessions = await fromStripe(`${SESSIONS}?limit=100`);
    const ofThisTopUp = (sessions['data'] as Record<string, unknown>[]).filter(
      (session) => session['client_reference_id'] === again.body.id,
    );
    expect(ofThisTopUp.map((session) => session['id'])).toEqual([sessionId]);
    await control.pay(sessionId);
    await settled(app);
    await expectCreditedOnce(app, { id: String(again.body.id), sessionId, customer: owner });
  });

  it('goes on with the same key when the process died before it wrote down Stripe’s answer', async () => {
    const owner = await app.createCustomer();
    const key = { 'idempotency-key': 'after-the-crash' };
    const move = jest.spyOn(TopUpRepository.prototype, 'move').mockRejectedValueOnce(new Error('killed'));
    (await owner.client.post('/v1/top_ups', { credit_cents: 1_000 }, key)).expect(500);
    move.mockRestore();
    const again = (await owner.client.post('/v1/top_ups', { credit_cents: 1_000 }, key)).expect(201);
    const sessionId = sessionIdOf(String(again.body.checkout_url));
    await control.pay(sessionId);
    await settled(app);
    await expectCreditedOnce(app, { id: String(again.body.id), sessionId, customer: owner });
  });

  it('makes a new customer for one that Stripe lost', async () => {
    const owner = await app.createCustomer();
    (await owner.client.post('/v1/top_ups', { credit_cents: 1_000 })).expect(201);
    const lose = `UPDATE stripe_customers SET customer_id = 'cus_deleted' WHERE account_id = $1`;
    await app.dataSource.query(lose, [owner.accountId]);
    const answers = await Promise.all(
      [1, 2, 3].map(() => owner.client.post('/v1/top_ups', { credit_cents: 1_000 })),
    );
    for (const answer of answers) answer.expect(201);
    const rows = await app.dataSource.query<{ customer_id: string; generation: number }[]>(
      'SELECT customer_id, generation FROM stripe_customers WHERE account_id = $1',
      [owner.accountId],
    );
    expect(rows).toEqual([{ customer_id: expect.stringMatching(/^cus_(?!deleted)/), generation: 2 }]);
  });
});

describe('reading top-ups', () => {
  it('lists an account’s own, newest first, page by page', async () => {
    const owner = await app.createCustomer();
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1) {
      const answer = await owner.client.post('/v1/top_ups', { credit_cents: 500 + index });
      ids.unshift(String(answer.expect(201).body.id));
    }
    const all = (await owner.client.get('/v1/top_ups')).expect(200);
    expect(all.body).toMatchObject({ object: 'list', url: '/v1/top_ups', has_more: false });
    expect(all.body.data.map(({ id }: { id: string }) => id)).toEqual(ids);
    const page = (await owner.client.get(`/v1/top_ups?limit=2&starting_after=${ids[1]}`)).expect(200);
    expect(page.body.has_more).toBe(true);
    expect(page.body.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(2, 4));
    const back = (await owner.client.get(`/v1/top_ups?limit=2&ending_before=${ids[3]}`)).expect(200);
    expect(back.body.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(1, 3));
    expect((await customer.client.get(`/v1/top_ups?limit=100`)).body.data).not.toContainEqual(
      expect.objectContaining({ id: ids[0] }),
    );
  });

  it('shows another account’s top-up to no one else: 404, as for one that does not exist', async () => {
    const { id, customer: owner } = await startTopUp(app);
    expect((await owner.client.get(`/v1/top_ups/${id}`)).expect(200).body.id).toBe(id);
    const foreign = (await customer.client.get(`/v1/top_ups/${id}`)).expect(404);
    expect(foreign.body.error.code).toBe('resource_missing');
    for (const missing of ['tu_01KB2H7Q0000000000000000AA', 'tu_', 'nonsense', '%00', "tu_' OR 1=1"]) {
      (await customer.client.get(`/v1/top_ups/${encodeURIComponent(missing)}`)).expect(404);
    }
  });
});
