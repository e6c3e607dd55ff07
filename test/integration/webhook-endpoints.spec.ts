import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { WEBHOOK_EVENT_TYPES } from '../../src/notifications/event-types.js';
import {
  ENDPOINTS_MAX,
  ENDPOINTS_PER_DAY_MAX,
} from '../../src/notifications/webhooks/webhook-endpoints.service.js';
import { WebhookEventsService } from '../../src/notifications/webhooks/webhook-events.service.js';
import { EventReceiver } from '../support/webhooks/event-receiver.js';
import { testLogger } from '../support/app/run-log.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { attempt, createEndpoint, deliveriesTo } from '../support/webhooks/webhook-deliveries.js';

const PATH = '/v1/webhook_endpoints';
const REQUEST = { url: 'https://example.com/hooks', events: ['top_up.succeeded', 'wallet.low'] };

let app: TestApp;
let customer: TestCustomer;
const logged: string[] = [];

beforeAll(async () => {
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged.push(chunk.toString());
      done();
    },
  });
  app = await startTestApp({
    settings: { webhookLoopback: true, runJobs: false, rateLimit: false },
    log: testLogger('trace', stream),
  });
  customer = await app.createCustomer();
});
afterAll(() => app.close());

describe('a webhook endpoint', () => {
  it('is made, read, listed, changed and deleted by its account', async () => {
    const { client } = await app.createCustomer();
    const made = (await client.post(PATH, REQUEST)).expect(201).body;
    expect(made).toEqual({
      id: expect.stringMatching(/^we_[0-9A-Z]{26}$/),
      object: 'webhook_endpoint',
      url: REQUEST.url,
      events: REQUEST.events,
      enabled: true,
      disabled_reason: null,
      disabled_at: null,
      failing_since: null,
      previous_secret_expires_at: null,
      created: expect.any(Number),
      secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
    });
    const view = { ...made };
    delete view.secret;
    expect((await client.get(`${PATH}/${made.id}`)).expect(200).body).toEqual(view);
    expect((await client.get(PATH)).expect(200).body).toEqual({
      object: 'list',
      url: PATH,
      has_more: false,
      data: [view],
    });
    const change = { url: 'https://example.com/other', events: ['wallet.depleted'] };
    const changed = (await client.send('PATCH', `${PATH}/${made.id}`, { body: change })).expect(200).body;
    expect(changed).toEqual({ ...view, ...change });
    expect((await client.delete(`${PATH}/${made.id}`)).expect(200).body).toEqual({
      id: made.id,
      object: 'webhook_endpoint',
      deleted: true,
    });
    for (const answer of [
      await client.get(`${PATH}/${made.id}`),
      await client.delete(`${PATH}/${made.id}`),
      await client.post(`${PATH}/${made.id}/test`),
    ]) {
      expect(answer.expect(404).body.error.code).toBe('resource_missing');
    }
    expect((await client.get(PATH)).expect(200).body.data).toEqual([]);
  });

  it('is switched off and on by its account, which says why and since when', async () => {
    const { client } = customer;
    const { id } = await createEndpoint(customer, REQUEST.url);
    const off = (await client.send('PATCH', `${PATH}/${id}`, { body: { enabled: false } })).expect(200).body;
    expect(off).toMatchObject({
      enabled: false,
      disabled_reason: 'requested',
      disabled_at: expect.any(Number),
    });
    const test = await client.post(`${PATH}/${id}/test`);
    expect(test.expect(409).body.error).toMatchObject({ code: 'webhook_endpoint_disabled' });
    const on = (await client.send('PATCH', `${PATH}/${id}`, { body: { enabled: true } })).expect(200).body;
    expect(on).toMatchObject({ enabled: true, disabled_reason: null, disabled_at: null });
    (await client.post(`${PATH}/${id}/test`)).expect(201);
  });

  it('takes every event of the catalogue', async () => {
    const { client } = await app.createCustomer();
    const made = await client.post(PATH, { ...REQUEST, events: WEBHOOK_EVENT_TYPES });
    expect(made.expect(201).body.events).toEqual(WEBHOOK_EVENT_TYPES);
  });

  it.each([
    ['a URL inside our network', { url: 'https://169.254.169.254/latest' }, 'url'],
    ['plain http', { url: 'http://example.com/' }, 'url'],
    ['a URL that is none', { url: 'nonsense' }, 'url'],
    ['a URL that is no text', { url: { href: 'https://example.com' } }, 'url'],
    ['a URL of 2,001 characters', { url: `https://example.com/${'a'.repeat(1_981)}` }, 'url'],
    ['no URL', { url: undefined }, 'url'],
    ['an unknown event', { events: ['top_up.succeeded', 'top_up.invented'] }, 'events'],
    ['the test event', { events: ['webhook.test'] }, 'events'],
    ['no event', { events: [] }, 'events'],
    ['an event twice', { events: ['wallet.low', 'wallet.low'] }, 'events'],
    ['an event for a list', { events: 'wallet.low' }, 'events'],
    ['a secret of one’s own', { secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' }, 'secret'],
  ])('is not made of %s', async (_what, fields, param) => {
    const answer = await customer.client.post(PATH, { ...REQUEST, ...fields });
    expect(answer.expect(400).body.error).toMatchObject({ code: 'invalid_request', param });
  });

  it('is not changed into what it could not be made of', async () => {
    const { id } = await createEndpoint(customer, REQUEST.url);
    for (const body of [
      { url: 'http://10.0.0.1/' },
      { events: [] },
      { enabled: 'yes' },
      { id: 'we_other' },
    ]) {
      (await customer.client.send('PATCH', `${PATH}/${id}`, { body })).expect(400);
    }
    const still = (await customer.client.get(`${PATH}/${id}`)).expect(200).body;
    expect(still).toMatchObject({ url: REQUEST.url, enabled: true });
  });

  it('is one of a bounded number, however many are asked for at the same time', async () => {
    const { client } = await app.createCustomer();
    const answers = await Promise.all(
      Array.from({ length: ENDPOINTS_MAX + 10 }, () => client.post(PATH, REQUEST)),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(ENDPOINTS_MAX);
    expect(answers.filter(({ status }) => status === 400)).toHaveLength(10);
  });

  it('cannot be made and deleted without end', async () => {
    const { client } = await app.createCustomer();
    for (let made = 0; made < ENDPOINTS_PER_DAY_MAX; made += 1) {
      const { id } = (await client.post(PATH, REQUEST)).expect(201).body;
      (await client.delete(`${PATH}/${id}`)).expect(200);
    }
    (await client.post(PATH, REQUEST)).expect(400);
  });
});

describe('another account’s endpoint', () => {
  it('is a 404 on every route, and nothing of it changes', async () => {
    const stranger = await app.createCustomer();
    const receiver = await EventReceiver.start();
    const { id } = await createEndpoint(customer, receiver.url);
    const delivery = (await customer.client.post(`${PATH}/${id}/test`)).expect(201).body;
    const before = (await customer.client.get(`${PATH}/${id}`)).body;
    const routes: readonly (readonly [string, string, unknown?])[] = [
      ['GET', `${PATH}/${id}`],
      ['PATCH', `${PATH}/${id}`, { enabled: false }],
      ['DELETE', `${PATH}/${id}`],
      ['POST', `${PATH}/${id}/rotate_secret`],
      ['POST', `${PATH}/${id}/test`],
      ['GET', `${PATH}/${id}/deliveries`],
      ['POST', `${PATH}/${id}/deliveries/${delivery.id}/redeliver`],
    ];
    const own = await createEndpoint(stranger, receiver.url);
    for (const [method, path, body] of [
      ...routes,
      ['POST', `${PATH}/${own.id}/deliveries/${delivery.id}/redeliver`] as const,
    ]) {
      const answer = await stranger.client.send(method, path, { body });
      expect({ method, path, status: answer.status }).toEqual({ method, path, status: 404 });
    }
    expect((await stranger.client.get(PATH)).body.data.map((row: { id: string }) => row.id)).toEqual([
      own.id,
    ]);
    expect((await customer.client.get(`${PATH}/${id}`)).body).toEqual(before);
    expect(await deliveriesTo(app, { id })).toHaveLength(1);
    await receiver.close();
  });

  it('gets no event of what happens to this one', async () => {
    const stranger = await app.createCustomer();
    const theirs = await createEndpoint(stranger, REQUEST.url);
    const event = { accountId: customer.accountId, type: 'top_up.succeeded', data: {} } as const;
    await app.app.get(WebhookEventsService, { strict: false }).publish(null, event);
    expect(await deliveriesTo(app, theirs)).toEqual([]);
  });

  it('is not found by garbage either, which never reaches the database', async () => {
    for (const id of ['we_1', 'acct_x', '%00', "we_'--", 'x'.repeat(90), '..%2f..']) {
      const answer = await customer.client.get(`${PATH}/${id}`);
      expect({ id, refused: [400, 404].includes(answer.status) }).toEqual({ id, refused: true });
    }
  });
});

describe('a key without the scope', () => {
  it('reads with wallet:read and changes with wallet:write, and neither does the other', async () => {
    const { accountId } = customer;
    const { id } = await createEndpoint(customer, REQUEST.url);
    const keyWith = async (scope: string) => {
      const key = await app.operator.post(`/v1/accounts/${accountId}/api_keys`, {
        name: scope,
        scopes: [scope],
      });
      return app.client(String(key.expect(201).body.secret));
    };
    const reads = await keyWith('wallet:read');
    const writes = await keyWith('wallet:write');
    (await reads.get(`${PATH}/${id}/deliveries`)).expect(200);
    (await reads.post(PATH, REQUEST)).expect(403);
    (await reads.post(`${PATH}/${id}/rotate_secret`)).expect(403);
    (await reads.delete(`${PATH}/${id}`)).expect(403);
    (await writes.get(PATH)).expect(403);
    (await writes.post(`${PATH}/${id}/rotate_secret`)).expect(200);
  });
});

describe('a signing secret', () => {
  it('is shown when it is made and nowhere else: no answer, no log line, no plain byte in the database', async () => {
    const shown: string[] = [];
    const receiver = await EventReceiver.start();
    receiver.answer = () => ({ status: 500 });
    const { id, secret } = await createEndpoint(customer, receiver.url, ['top_up.failed']);
    const rotated = (await customer.client.post(`${PATH}/${id}/rotate_secret`)).expect(200).body;
    const secrets = [secret, String(rotated.secret)];
    expect(new Set(secrets).size).toBe(2);
    (await customer.client.post(`${PATH}/${id}/test`)).expect(201);
    const [delivery] = await deliveriesTo(app, { id });
    if (delivery === undefined) throw new Error('there is one delivery');
    await attempt(app, delivery);
    for (const path of [`${PATH}/${id}`, PATH, `${PATH}/${id}/deliveries`]) {
      shown.push(JSON.stringify((await customer.client.get(path)).expect(200).body));
    }
    const patched = await customer.client.send('PATCH', `${PATH}/${id}`, {
      body: { events: ['wallet.low'] },
    });
    shown.push(JSON.stringify(patched.expect(200).body));
    const rows = await app.dataSource.query<{ row: string; bytes: string }[]>(
      `SELECT row_to_json(e)::text AS row, encode(secret_box, 'escape') || encode(previous_secret_box, 'escape') AS bytes
         FROM webhook_endpoints e WHERE id = $1`,
      [id],
    );
    const jobs = await app.dataSource.query('SELECT payload FROM graphile_worker._private_jobs');
    const everything = [...shown, ...logged, JSON.stringify(rows), JSON.stringify(jobs)].join('\n');
    expect(logged.length).toBeGreaterThan(0);
    for (const each of secrets) {
      const raw = each.slice('whsec_'.length);
      const forms = [each, raw, raw.slice(0, 16), Buffer.from(raw, 'base64').toString('hex')];
      expect(forms.filter((form) => everything.includes(form))).toEqual([]);
    }
    await receiver.close();
  });

  it('is erased with its endpoint', async () => {
    const { id } = await createEndpoint(customer, REQUEST.url);
    (await customer.client.post(`${PATH}/${id}/rotate_secret`)).expect(200);
    (await customer.client.delete(`${PATH}/${id}`)).expect(200);
    const rows = await app.dataSource.query(
      'SELECT secret_box, previous_secret_box FROM webhook_endpoints WHERE id = $1',
      [id],
    );
    expect(rows).toEqual([{ secret_box: null, previous_secret_box: null }]);
  });

  it('does not sign from another endpoint’s row: copied there, it cannot be read, and nothing is sent', async () => {
    const receiver = await EventReceiver.start();
    const mine = await createEndpoint(customer, receiver.url);
    const { client } = await app.createCustomer();
    const other = (await client.post(PATH, { ...REQUEST, url: receiver.url })).expect(201).body;
    await app.dataSource.query(
      `UPDATE webhook_endpoints SET (secret_box, secret_key_id) =
         (SELECT secret_box, secret_key_id FROM webhook_endpoints WHERE id = $1) WHERE id = $2`,
      [mine.id, other.id],
    );
    (await client.post(`${PATH}/${other.id}/test`)).expect(201);
    const [delivery] = await deliveriesTo(app, { id: String(other.id) });
    if (delivery === undefined) throw new Error('there is one delivery');
    await expect(attempt(app, delivery)).rejects.toThrow('cannot be opened');
    expect(receiver.received).toEqual([]);
    await receiver.close();
  });
});
