import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { AlertEmailJob } from '../../src/notifications/alerts/alert-email.job.js';
import { EMAIL_RETRY_DELAYS_MS } from '../../src/notifications/alerts/alert-email.rules.js';
import {
  WebhookEventsService,
  type NewWebhookEvent,
} from '../../src/notifications/webhooks/webhook-events.service.js';
import { headersOf, linkIn, MailServer, wordsOf } from '../support/servers/mail-server.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

const ALERTS = '/v1/wallet/alerts';
const DAY_MS = 86_400_000;

type EmailRow = {
  readonly id: string;
  readonly account_id: string;
  readonly kind: string;
  readonly event_id: string | null;
  readonly status: string;
  readonly attempts: number;
  readonly error: string | null;
  readonly next_attempt_at: Date | null;
};

let app: TestApp;
let server: MailServer;
let events: WebhookEventsService;
let customer: TestCustomer;

beforeAll(async () => {
  server = await MailServer.start();
  const from = { name: 'Coffer', address: 'billing@coffer.example' };
  const mail = { smtpUrl: server.url, requiresTls: false, from };
  app = await startTestApp({ settings: { mail, runJobs: false, rateLimit: false } });
  events = app.app.get(WebhookEventsService, { strict: false });
});
beforeEach(async () => {
  app.clock.stop();
  server.taken.length = 0;
  server.connections = 0;
  server.answer = () => 'take';
  customer = await app.createCustomer();
});
afterEach(() => {
  app.clock.reset();
  jest.restoreAllMocks();
});
afterAll(async () => {
  await app.close();
  await server.close();
});

let addresses = 0;
const newAddress = (): string => `person.${(addresses += 1)}@example.com`;
const put = (email: string | null, as = customer) => as.client.send('PUT', ALERTS, { body: { email } });
const follow = (link: URL, as = app) =>
  fetch(`${as.url}${link.pathname}${link.search}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'List-Unsubscribe=One-Click',
  });

/** As RFC 8058 prefers it. */
const followByMultipart = (link: URL) => {
  const body = new FormData();
  body.set('List-Unsubscribe', 'One-Click');
  return fetch(`${app.url}${link.pathname}${link.search}`, { method: 'POST', body });
};

function emails(accountId = customer.accountId): Promise<EmailRow[]> {
  return app.dataSource.query<EmailRow[]>('SELECT * FROM alert_emails WHERE account_id = $1 ORDER BY id', [
    accountId,
  ]);
}

/** Runs what waits for the account, as a worker would. */
async function send(on = app, { accountId } = customer): Promise<void> {
  const job = on.app.get(AlertEmailJob, { strict: false });
  const rows = await on.dataSource.query<EmailRow[]>(
    `SELECT * FROM alert_emails WHERE account_id = $1 AND status = 'pending' ORDER BY id`,
    [accountId],
  );
  for (const { id, account_id } of rows) await job.run({ account_id, email_id: id });
}

const newEvent = (
  naturalKey: string,
  type: NewWebhookEvent['type'] = 'wallet.low',
  data = {},
): NewWebhookEvent => ({
  accountId: customer.accountId,
  type,
  naturalKey,
  data: { posted_micros: '1960000', available_micros: '1920000', low_balance_micros: '2000000', ...data },
});

/** The customer with an address that said yes. */
async function subscribed(): Promise<string> {
  const address = newAddress();
  (await put(address)).expect(200);
  await send();
  const question = server.taken.at(-1);
  expect((await follow(linkIn(question?.source ?? '', 'confirm'))).status).toBe(200);
  server.taken.length = 0;
  server.connections = 0;
  return address;
}

describe('an address', () => {
  it('is asked first, and gets no alert before it said yes', async () => {
    const address = newAddress();
    expect((await put(address)).expect(200).body).toMatchObject({ email: address, email_confirmed: false });
    await events.publish(null, newEvent('before'));
    await send();
    expect(server.taken.map(({ to }) => to)).toEqual([address]);
    const source = server.taken[0]?.source ?? '';
    expect(headersOf(source).get('subject')).toBe('Do you want alerts about your credit?');
    const link = linkIn(source, 'confirm');
    // Mail programs open links by themselves: that decides nothing.
    const opened = await fetch(`${app.url}${link.pathname}${link.search}`);
    expect([opened.status, await opened.text()]).toEqual([
      200,
      expect.stringMatching(/<form [^>]*method="post"/),
    ]);
    expect((await customer.client.get(ALERTS)).body.email_confirmed).toBe(false);
    expect((await follow(link)).status).toBe(200);
    expect((await follow(link)).status).toBe(200);
    expect((await customer.client.get(ALERTS)).body.email_confirmed).toBe(true);
    await events.publish(null, newEvent('after'));
    await send();
    expect(server.taken).toHaveLength(2);
  });

  it('is confirmed by its own link only, in time, and no link is in the database', async () => {
    (await put(newAddress())).expect(200);
    await send();
    const link = linkIn(server.taken[0]?.source ?? '', 'confirm');
    const token = link.searchParams.get('token') ?? '';
    const [dump] = await app.dataSource.query<{ text: string }[]>(
      `SELECT coalesce((SELECT string_agg(a::text, ' ') FROM wallet_alerts a), '') ||
              coalesce((SELECT string_agg(e::text, ' ') FROM alert_emails e), '') ||
              coalesce((SELECT string_agg(j::text, ' ') FROM graphile_worker._private_jobs j), '') AS text`,
    );
    expect(token).toHaveLength(43);
    expect(dump?.text).not.toContain(token);
    expect(dump?.text).not.toContain(Buffer.from(token, 'base64url').toString('hex'));
    const stranger = await app.createCustomer();
    const forged = (change: Record<string, string>): URL => {
      const url = new URL(link);
      for (const [name, value] of Object.entries(change)) url.searchParams.set(name, value);
      return url;
    };
    expect((await follow(forged({ account: stranger.accountId }))).status).toBe(410);
    expect((await follow(forged({ token: `${token.slice(0, -2)}AA` }))).status).toBe(410);
    expect((await follow(forged({ token: "' OR 1=1 --" }))).status).toBe(410);
    expect((await follow(forged({ account: 'x'.repeat(500) }))).status).toBe(400);
    app.clock.aheadMs = 3 * DAY_MS + 60_000;
    expect((await follow(link)).status).toBe(410);
    expect((await customer.client.get(ALERTS)).body.email_confirmed).toBe(false);
  });

  it('that replaces another is asked again, and the old one’s links are void', async () => {
    await subscribed();
    await events.publish(null, newEvent('mail'));
    await send();
    const unsubscribe = linkIn(server.taken[0]?.source ?? '', 'unsubscribe');
    const second = newAddress();
    (await put(second)).expect(200);
    await send();
    const confirm = linkIn(server.taken.at(-1)?.source ?? '', 'confirm');
    (await put(newAddress())).expect(200);
    expect((await follow(unsubscribe)).status).toBe(410);
    expect((await follow(confirm)).status).toBe(410);
    await events.publish(null, newEvent('not confirmed'));
    await send();
    const notified = (await emails()).map(({ kind }) => kind).filter((kind) => kind !== 'confirmation');
    expect(notified).toEqual(['wallet.low', 'address_removed']);
  });

  it('is not flooded with questions: once in five minutes, three times a day over all callers, five an account', async () => {
    const victim = newAddress();
    for (let count = 0; count < 3; count += 1) (await put(victim)).expect(200);
    expect(await emails()).toHaveLength(1);
    const limited = { error: { code: 'too_many_confirmations' } };
    const askers = [await app.createCustomer(), await app.createCustomer(), await app.createCustomer()];
    const answers = await Promise.all(askers.map((asker) => put(victim.toUpperCase(), asker)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429]);
    expect(answers.find(({ status }) => status === 429)?.body).toMatchObject(limited);
    for (let count = 0; count < 4; count += 1) (await put(newAddress())).expect(200);
    const before = (await customer.client.get(ALERTS)).body;
    expect((await put(newAddress())).expect(429).body).toMatchObject(limited);
    expect((await customer.client.get(ALERTS)).body).toEqual(before);
    app.clock.aheadMs = DAY_MS + 1_000;
    (await put(newAddress())).expect(200);
  });

  it('that wants no more says so with one click of a mail program, whichever form that sends', async () => {
    await subscribed();
    await events.publish(null, newEvent('first'));
    await send();
    const link = linkIn(server.taken[0]?.source ?? '', 'unsubscribe');
    expect((await followByMultipart(link)).status).toBe(200);
    expect((await customer.client.get(ALERTS)).body.email).toBeNull();
  });

  it('that wants no more says so with one click, at once, also for what waits', async () => {
    await subscribed();
    await events.publish(null, newEvent('first'));
    await send();
    const source = server.taken[0]?.source ?? '';
    const header = headersOf(source).get('list-unsubscribe') ?? '';
    expect(headersOf(source).get('list-unsubscribe-post')).toBe('List-Unsubscribe=One-Click');
    expect(header).toBe(`<${linkIn(source, 'unsubscribe').href}>`);
    await events.publish(null, newEvent('second'));
    const link = linkIn(source, 'unsubscribe');
    const opened = await fetch(`${app.url}${link.pathname}${link.search}`);
    expect(opened.status).toBe(200);
    expect((await customer.client.get(ALERTS)).body.email).not.toBeNull();
    expect((await follow(link)).status).toBe(200);
    expect((await follow(link)).status).toBe(200);
    await send();
    expect(server.taken).toHaveLength(1);
    expect((await emails()).map(({ status }) => status)).toEqual(['sent', 'sent', 'canceled']);
    expect((await customer.client.get(ALERTS)).body).toMatchObject({ email: null, email_confirmed: false });
  });
});

describe('a mail', () => {
  it('names its event permanently, says why it came, and is the same in text and HTML', async () => {
    const address = await subscribed();
    await events.publish(null, newEvent('one'));
    await send();
    const [{ event_id: eventId } = { event_id: null }] = (await emails()).slice(-1);
    const { to, source = '' } = server.taken[0] ?? { to: '' };
    expect(to).toBe(address);
    const headers = headersOf(source);
    expect(headers.get('message-id')).toBe(`<${eventId}@coffer.example>`);
    expect(headers.get('from')).toBe('Coffer <billing@coffer.example>');
    expect(headers.get('to')).toBe(address);
    expect(headers.get('subject')).toBe('Your credit is low: $1.96 left');
    expect(headers.get('auto-submitted')).toBe('auto-generated');
    const words = wordsOf(source);
    expect(words.split('You asked for an alert below $2.00')).toHaveLength(3);
    expect(words).toContain(`because alerts of account ${customer.accountId} are sent to this address.`);
  });

  it('is one for each event, however often it is published and whichever process sends it', async () => {
    await subscribed();
    await Promise.all(Array.from({ length: 10 }, () => events.publish(null, newEvent('same'))));
    await Promise.all(Array.from({ length: 5 }, () => send()));
    expect(server.taken).toHaveLength(1);
    await send();
    expect(server.taken).toHaveLength(1);
  });

  it('is queued if, and only if, what it reports was committed, and only for events that people are notified of', async () => {
    await subscribed();
    const transactions = app.app.get(TransactionRunner, { strict: false });
    const work = transactions.run(async (tx) => {
      await events.publish(tx, newEvent('undone'));
      throw new Error('undone');
    });
    await expect(work).rejects.toThrow('undone');
    await events.publish(null, newEvent('machines', 'top_up.succeeded'));
    expect(await emails()).toHaveLength(1);
    for (const type of ['wallet.depleted', 'auto_top_up.failed', 'auto_top_up.disabled'] as const) {
      await events.publish(null, newEvent(type, type));
    }
    const [queued] = await app.dataSource.query<{ count: number }[]>(
      `SELECT count(*)::int FROM graphile_worker._private_jobs job JOIN alert_emails email
          ON job.key = 'alert_email:' || email.id WHERE email.account_id = $1 AND email.status = 'pending'`,
      [customer.accountId],
    );
    expect(queued?.count).toBe(3);
    await send();
    expect(server.taken.map(({ source }) => headersOf(source).get('subject'))).toEqual([
      'Your credit is used up',
      'Your automatic top-up failed',
      'Your automatic top-up is off',
    ]);
  });

  it('carries nothing of what others wrote into its headers or its HTML', async () => {
    await subscribed();
    const evil = 'x\r\nBcc: victim@example.com\r\n\r\n<script>alert(1)</script>&"';
    const action = 'https://example.com/"><script>alert(2)</script>';
    await events.publish(null, newEvent('evil', 'auto_top_up.disabled', { message: evil }));
    await events.publish(
      null,
      newEvent('evil', 'auto_top_up.failed', { action_url: action, retry_at: evil }),
    );
    await events.publish(null, newEvent('evil', 'wallet.low', { posted_micros: evil }));
    await send();
    expect(server.taken).toHaveLength(3);
    for (const { source } of server.taken) {
      expect([...headersOf(source).keys()].sort()).toEqual([
        'auto-submitted',
        'content-type',
        'date',
        'from',
        'list-unsubscribe',
        'list-unsubscribe-post',
        'message-id',
        'mime-version',
        'subject',
        'to',
      ]);
      const html = wordsOf(source).split('text/html').at(-1);
      expect(html).not.toContain('<script');
    }
  });
});

describe('a worker that dies over a mail', () => {
  it('leaves it to the next one, after a time in which no other process touches it', async () => {
    await subscribed();
    await events.publish(null, newEvent('died'));
    const job = app.app.get(AlertEmailJob, { strict: false });
    const [email] = (await emails()).slice(-1);
    const name = { account_id: customer.accountId, email_id: email?.id ?? '' };
    server.answer = () => 'hang';
    const dying = job.run(name);
    await eventually('the server has been called', () => server.connections === 1);
    server.answer = () => 'take';
    await job.run(name);
    expect(server.connections).toBe(1);
    app.clock.aheadMs = 121_000;
    await job.run(name);
    expect(server.taken).toHaveLength(1);
    server.hangUp();
    await dying;
    expect((await emails()).at(-1)).toMatchObject({ status: 'sent', attempts: 2 });
  });
});

describe('a mail server', () => {
  it('that asks for patience is tried again by the schedule, with the same mail, then given up', async () => {
    await subscribed();
    server.answer = () => 'later';
    await events.publish(null, newEvent('patience'));
    for (const [index, delayMs] of EMAIL_RETRY_DELAYS_MS.entries()) {
      await send();
      const email = (await emails()).at(-1);
      expect(email).toMatchObject({ status: 'pending', attempts: index + 1, error: 'EENVELOPE 451' });
      const waitMs = (email?.next_attempt_at?.getTime() ?? 0) - app.clock.nowMs();
      expect(Math.abs(waitMs - delayMs)).toBeLessThan(5_000);
      app.clock.letPass(delayMs);
    }
    await send();
    expect((await emails()).at(-1)).toMatchObject({ status: 'failed', attempts: 8 });
    expect(server.taken).toEqual([]);
  });

  it('that knows no such address is not asked again', async () => {
    await subscribed();
    server.answer = () => 'refuse';
    await events.publish(null, newEvent('unknown'));
    await send();
    expect((await emails()).at(-1)).toMatchObject({ status: 'failed', attempts: 1, error: 'EENVELOPE 550' });
  });

  it('whose yes is lost gets the mail once more, under the name by which receivers drop it', async () => {
    await subscribed();
    server.answer = (connection) => (connection === 1 ? 'cut' : 'take');
    await events.publish(null, newEvent('lost'));
    await send();
    app.clock.aheadMs = 61_000;
    await send();
    const names = server.taken.map(({ source }) => headersOf(source).get('message-id'));
    expect(names).toHaveLength(2);
    expect(new Set(names).size).toBe(1);
    expect((await emails()).at(-1)).toMatchObject({ status: 'sent', attempts: 2 });
  });
});
