import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { WalletAlertJob } from '../../src/notifications/wallet-alert.job.js';
import { eventually } from '../support/processes.js';
import { publishedTo, type PublishedEvent } from '../support/webhooks/published-events.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { createEndpoint } from '../support/webhooks/webhook-deliveries.js';

const ALERTS = '/v1/wallet/alerts';

let app: TestApp;
let customer: TestCustomer;

beforeAll(async () => {
  app = await startTestApp({ settings: { runJobs: true, rateLimit: false, webhookLoopback: true } });
});
beforeEach(async () => {
  customer = await app.createCustomer({ grantMicros: 10_000_000n });
});
afterAll(() => app.close());

const put = (body: object, as = customer) => as.client.send('PUT', ALERTS, { body });
const shown = async () => (await customer.client.get(ALERTS)).expect(200).body as Record<string, unknown>;
let count = 0;

async function spend(amountMicros: number): Promise<number> {
  const body = {
    account: customer.accountId,
    reference: `spend-${(count += 1)}`,
    amount_micros: `${amountMicros}`,
  };
  return (await app.operator.post('/v1/debits', body)).status;
}

async function grant(amountMicros: number): Promise<void> {
  const path = `/v1/accounts/${customer.accountId}/grants`;
  (await app.operator.post(path, { amount_micros: `${amountMicros}`, reason: 'more' })).expect(201);
}

async function notified(): Promise<PublishedEvent[]> {
  await eventually('no alert waits', async () => {
    const rows = await app.dataSource.query<unknown[]>(
      `SELECT FROM graphile_worker.jobs WHERE task_identifier = 'wallet_alert'`,
    );
    return rows.length === 0;
  });
  return publishedTo(app, customer.accountId);
}

const notifiedTypes = async () => (await notified()).map(({ type }) => type);

describe('the alerts of a wallet', () => {
  it('are none until the account asks for them', async () => {
    expect(await shown()).toEqual({
      object: 'wallet_alerts',
      low_balance_micros: null,
      email: null,
      email_confirmed: false,
    });
    expect(await spend(9_900_000)).toBe(201);
    expect(await notifiedTypes()).toEqual([]);
  });

  it('keep what a request leaves out, and end with null', async () => {
    (await put({ low_balance_micros: '3000000' })).expect(200);
    (await put({ email: 'billing@example.com' })).expect(200);
    expect(await shown()).toMatchObject({ low_balance_micros: '3000000', email: 'billing@example.com' });
    (await put({ low_balance_micros: null })).expect(200);
    expect(await shown()).toMatchObject({ low_balance_micros: null, email: 'billing@example.com' });
    (await put({ email: null })).expect(200);
    expect(await shown()).toMatchObject({ low_balance_micros: null, email: null });
  });

  it('have a threshold of $2.00 for an account that asks for alerts and names none, and the named one for every other', async () => {
    await createEndpoint(customer, 'http://127.0.0.1:4999/hook', ['top_up.succeeded']);
    expect(await shown()).toMatchObject({ low_balance_micros: null });
    await createEndpoint(customer, 'http://127.0.0.1:4999/hook', ['wallet.low']);
    expect(await shown()).toMatchObject({ low_balance_micros: '2000000' });
    (await put({ low_balance_micros: null })).expect(200);
    await createEndpoint(customer, 'http://127.0.0.1:4999/hook', ['wallet.low']);
    (await put({ email: 'billing@example.com' })).expect(200);
    expect(await shown()).toMatchObject({ low_balance_micros: null });
    const other = await app.createCustomer();
    const answer = (await put({ email: 'other@example.com' }, other)).expect(200);
    expect(answer.body.low_balance_micros).toBe('2000000');
  });

  it('are the account’s own, and need the scope', async () => {
    (await put({ low_balance_micros: '3000000' })).expect(200);
    const stranger = await app.createCustomer({ scopes: ['wallet:read'] });
    expect((await stranger.client.get(ALERTS)).expect(200).body.low_balance_micros).toBeNull();
    (await put({ low_balance_micros: '1' }, stranger)).expect(403);
    (await app.client(null).get(ALERTS)).expect(401);
  });

  it.each([
    { low_balance_micros: '0' },
    { low_balance_micros: '-1' },
    { low_balance_micros: 1.5 },
    { low_balance_micros: 'much' },
    { email: '' },
    { email: 'nobody' },
    { email: 'a@b' },
    { email: 'a@example.com\r\nBcc: victim@example.com' },
    { email: 'a@example.com\nSubject: hello' },
    { email: 'a@example.com, b@example.com' },
    { email: '<a@example.com>' },
    { email: '"a b"@example.com' },
    { email: 'a@example.com>' },
    { email: 'ä@example.com' },
    { email: `${'a'.repeat(65)}@example.com` },
    { email: `a@${'b.'.repeat(126)}com` },
    { email: ['a@example.com'] },
    { emails: 'a@example.com' },
  ])('refuse %j and change nothing', async (body) => {
    (await put(body)).expect(400);
    expect(await shown()).toMatchObject({ low_balance_micros: null, email: null });
  });
});

describe('credit that runs out', () => {
  it('is reported when it falls below the threshold, once, and again only after it was well above', async () => {
    (await put({ low_balance_micros: '5000000' })).expect(200);
    await spend(4_900_000);
    expect(await notifiedTypes()).toEqual([]);
    await spend(200_000);
    expect(await notified()).toEqual([
      {
        type: 'wallet.low',
        timestamp: expect.any(String),
        data: {
          object: 'wallet_alert',
          account: customer.accountId,
          status: 'active',
          posted_micros: '4900000',
          available_micros: '4900000',
          low_balance_micros: '5000000',
          reason: null,
        },
      },
    ]);
    await grant(500_000);
    await spend(500_000);
    expect(await notifiedTypes()).toEqual(['wallet.low']);
    await grant(1_200_000);
    await spend(1_200_000);
    expect(await notifiedTypes()).toEqual(['wallet.low', 'wallet.low']);
  });

  it('is reported as depleted when nothing is left, and when a call was refused, once until there is more', async () => {
    expect(await spend(11_000_000)).toBe(402);
    expect(await spend(11_000_000)).toBe(402);
    expect(await notifiedTypes()).toEqual(['wallet.depleted']);
    await grant(1_000_000);
    expect(await spend(10_999_999)).toBe(201);
    expect(await notifiedTypes()).toEqual(['wallet.depleted']);
    expect(await spend(1)).toBe(201);
    expect(await notifiedTypes()).toEqual(['wallet.depleted', 'wallet.depleted']);
    expect(await spend(1)).toBe(402);
    expect(await notifiedTypes()).toHaveLength(2);
  });

  it('is not reported any more when it came back before anyone could be notified', async () => {
    const job = app.app.get(WalletAlertJob, { strict: false });
    const signal = {
      key: 'low:late',
      account_id: customer.accountId,
      posted_micros: '0',
      available_micros: '0',
      seq: 1,
      at_ms: 1,
      reason: null,
    };
    (await put({ low_balance_micros: '5000000' })).expect(200);
    await job.run({ ...signal, alert: 'low' });
    await job.run({ ...signal, alert: 'depleted' });
    await job.run({ ...signal, alert: 'frozen' });
    expect(await notified()).toEqual([]);
  });

  it('is reported once for each signal, however often its job runs', async () => {
    const job = app.app.get(WalletAlertJob, { strict: false });
    const signal = {
      key: 'depleted:twice',
      account_id: customer.accountId,
      alert: 'depleted',
      posted_micros: '10000000',
      available_micros: '10000000',
      seq: 1,
      at_ms: 1,
      reason: null,
    };
    await Promise.all(Array.from({ length: 10 }, () => job.run(signal)));
    expect(await notifiedTypes()).toEqual(['wallet.depleted']);
  });

  it('and a wallet that is frozen are reported with the reason', async () => {
    const path = `/v1/accounts/${customer.accountId}/freeze`;
    (await app.operator.post(path, { reason: 'looks stolen' })).expect(200);
    expect(await notified()).toMatchObject([
      {
        type: 'wallet.frozen',
        data: { status: 'frozen', reason: 'looks stolen', posted_micros: '10000000' },
      },
    ]);
  });
});
