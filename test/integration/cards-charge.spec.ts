import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { DEFAULT_ACCOUNT_SCOPES } from '../../src/identity/auth/principal.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { customerWithCard, OPT_IN, readAutoTopUp, switchOn } from '../support/payments/auto-top-up.js';
import { eventually } from '../support/processes.js';
import { headersOf, linkIn, MailServer, wordsOf, type TakenMail } from '../support/servers/mail-server.js';
import { publishedTo, type PublishedEvent } from '../support/webhooks/published-events.js';

const ALERTS = '/v1/wallet/alerts';
const REMOVED = 'Alerts are no longer sent to you';
const RAISED = 'Your card may be charged automatically';

let app: TestApp;
let server: MailServer;

beforeAll(async () => {
  server = await MailServer.start();
  const from = { name: 'Coffer', address: 'billing@coffer.example' };
  const mail = { smtpUrl: server.url, requiresTls: false, from };
  app = await startTestApp({ stripe: true, settings: { mail, rateLimit: false } });
});
afterAll(async () => {
  await expectBooksToBalance(app.dataSource);
  await app.close();
  await server.close();
});

let addresses = 0;
const newAddress = (): string => `owner.${(addresses += 1)}@example.com`;
const putAlerts = ({ client }: TestCustomer, email: string | null) =>
  client.send('PUT', ALERTS, { body: { email } });
const mailsTo = (address: string): TakenMail[] => server.taken.filter(({ to }) => to === address);
const subjectsTo = (address: string): (string | undefined)[] =>
  mailsTo(address).map(({ source }) => headersOf(source).get('subject'));

async function whenMailed(address: string, subject: string): Promise<string> {
  await eventually(`"${subject}" is sent`, () => subjectsTo(address).includes(subject));
  const mail = mailsTo(address).find(({ source }) => headersOf(source).get('subject') === subject);
  return wordsOf(mail?.source ?? '').replaceAll(/\s+/g, ' ');
}

async function follow(address: string, page: 'confirm' | 'unsubscribe', subject: string): Promise<void> {
  await whenMailed(address, subject);
  const source = mailsTo(address).at(-1)?.source ?? '';
  const link = linkIn(source, page);
  const answer = await fetch(`${app.url}${link.pathname}${link.search}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'List-Unsubscribe=One-Click',
  });
  expect(answer.status).toBe(200);
}

/** The customer's alerts go to an address that said yes. */
async function subscribe(customer: TestCustomer): Promise<string> {
  const address = newAddress();
  (await putAlerts(customer, address)).expect(200);
  await follow(address, 'confirm', 'Do you want alerts about your credit?');
  return address;
}

async function keyIdOf({ client }: TestCustomer): Promise<string> {
  return (await client.get('/v1/api_keys')).expect(200).body.data[0].id;
}

const raisesOf = async ({ accountId }: TestCustomer): Promise<PublishedEvent[]> =>
  (await publishedTo(app, accountId)).filter(({ type }) => type === 'auto_top_up.updated');

describe('a saved card', () => {
  it('is not charged, nor its caps changed, by a key that has every scope but cards:charge; off it may switch', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    const key = { name: 'leaked', scopes: DEFAULT_ACCOUNT_SCOPES };
    const leaked = app.client((await customer.client.post('/v1/api_keys', key)).expect(201).body.secret);
    const put = (body: object) => leaked.send('PUT', '/v1/auto_top_up', { body });
    for (const change of [{}, { daily_max_charge_cents: 10_000_000_000 }, { daily_max_count: 1 }]) {
      const refused = (await put({ ...OPT_IN, ...change })).expect(403).body.error;
      expect(refused).toMatchObject({ code: 'insufficient_scope', required_scope: 'cards:charge' });
    }
    // Nor does it make a key that could.
    const child = { name: 'child', scopes: [...DEFAULT_ACCOUNT_SCOPES, 'cards:charge'] };
    const refused = (await leaked.post('/v1/api_keys', child)).expect(403).body.error;
    expect(refused).toMatchObject({ code: 'insufficient_scope', required_scope: 'cards:charge' });
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on', daily_max_charge_cents: 6_300 });
    expect((await put({ enabled: false })).expect(200).body).toMatchObject({ status: 'off' });
    (await put(OPT_IN)).expect(403);
  });
});

describe('the account', () => {
  it('is notified, by event and by mail, whenever its card may be charged more than before, and only then', async () => {
    const customer = await customerWithCard(app);
    const address = await subscribe(customer);
    await switchOn(customer);
    const [notified, ...others] = await raisesOf(customer);
    expect(others).toEqual([]);
    const changedBy = `account_key:${await keyIdOf(customer)}`;
    const terms = {
      threshold_micros: '5000000',
      credit_cents: 2_000,
      daily_max_count: 3,
      daily_max_charge_cents: 6_300,
      monthly_max_count: 30,
      monthly_max_charge_cents: 63_000,
      cooldown_seconds: 60,
    };
    expect(notified?.data).toEqual({
      object: 'auto_top_up_change',
      status: 'on',
      changed_by: changedBy,
      card_last4: '4242',
      charge_cents: 2_100,
      ...terms,
      previous: null,
      livemode: false,
    });
    expect(await whenMailed(address, RAISED)).toContain(
      'The card that ends in 4242 is charged $21.00 whenever the credit falls below $5.00: up to $63.00 a day and ' +
        '$630.00 a month.',
    );
    // The same again, and less than before.
    await switchOn(customer);
    await switchOn(customer, { daily_max_charge_cents: 4_200, cooldown_seconds: 300 });
    expect(await raisesOf(customer)).toHaveLength(1);
    const raises = [
      { daily_max_charge_cents: 6_300 },
      { cooldown_seconds: 200 },
      { daily_max_count: 4 },
      { monthly_max_count: 31 },
      { monthly_max_charge_cents: 63_001 },
      { threshold_micros: '5000001' },
      { credit_cents: 2_001 },
    ];
    let last: Record<string, unknown> = { ...terms, daily_max_charge_cents: 4_200, cooldown_seconds: 300 };
    for (const [index, raise] of raises.entries()) {
      const next = { ...last, ...raise };
      await switchOn(customer, next);
      const events = await raisesOf(customer);
      expect(events).toHaveLength(index + 2);
      expect(events.at(-1)?.data).toMatchObject({ ...next, previous: last });
      last = next;
    }
    await eventually('all are sent', () => subjectsTo(address).filter((s) => s === RAISED).length === 8);
  });

  it('is notified although the key that switches it on removes the address in the same moment', async () => {
    const customer = await customerWithCard(app);
    const address = await subscribe(customer);
    await Promise.all([switchOn(customer), putAlerts(customer, null)]);
    await switchOn(customer, { daily_max_count: 50 });
    expect(await whenMailed(address, REMOVED)).toContain(`with the API key ${await keyIdOf(customer)}`);
    await eventually('no mail waits', async () => {
      const pending = `SELECT FROM alert_emails WHERE account_id = $1 AND status = 'pending'`;
      return (await app.dataSource.query<unknown[]>(pending, [customer.accountId])).length === 0;
    });
    const notified = await app.dataSource.query<{ kind: string; status: string }[]>(
      `SELECT kind, status FROM alert_emails WHERE account_id = $1 AND kind <> 'confirmation' ORDER BY id`,
      [customer.accountId],
    );
    expect(notified.every(({ status }) => status === 'sent')).toBe(true);
  });
});

describe('an address of alerts', () => {
  it('is notified that a key has removed or replaced it, once, and never when it left by itself or had not said yes', async () => {
    const customer = await app.createCustomer();
    const removed = await subscribe(customer);
    for (let copy = 0; copy < 2; copy += 1) (await putAlerts(customer, null)).expect(200);
    const words = await whenMailed(removed, REMOVED);
    expect(words).toContain(`account ${customer.accountId}`);
    expect(words).toContain(await keyIdOf(customer));
    expect(words).not.toContain('/alerts/unsubscribe');

    const second = await app.createCustomer();
    const [replaced, unconfirmed] = [await subscribe(second), newAddress()];
    (await putAlerts(second, unconfirmed)).expect(200);
    await whenMailed(replaced, REMOVED);
    await whenMailed(unconfirmed, 'Do you want alerts about your credit?');
    (await putAlerts(second, null)).expect(200);

    const leaver = await customerWithCard(app);
    const left = await subscribe(leaver);
    await switchOn(leaver);
    await follow(left, 'unsubscribe', RAISED);
    (await putAlerts(leaver, null)).expect(200);

    const subjects = [removed, replaced, unconfirmed, left].map((address) =>
      subjectsTo(address).filter((subject) => subject === REMOVED),
    );
    expect(subjects).toEqual([[REMOVED], [REMOVED], [], []]);
    const queued = await app.dataSource.query<{ address: string }[]>(
      `SELECT address FROM alert_emails WHERE kind = 'address_removed' AND address = ANY ($1) ORDER BY id`,
      [[removed, replaced, unconfirmed, left]],
    );
    expect(queued.map(({ address }) => address)).toEqual([removed, replaced]);
  });
});

describe('a database of the time before cards:charge', () => {
  const migration = (name: string): string =>
    readFileSync(new URL(`../../migrations/${name}.sql`, import.meta.url), 'utf8');
  /** The schema of the version before. */
  const UNDO = `
    UPDATE api_keys SET scopes = array_remove(scopes, 'cards:charge');
    ALTER TABLE alert_emails DROP CONSTRAINT alert_emails_event_of_alerts;
    ALTER TABLE alert_emails ADD CONSTRAINT alert_emails_event_unless_question CHECK (true)`;

  it('is upgraded so that the keys that agreed to automatic charges go on, and no other key gets the right', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    const make = async (scopes: readonly string[]): Promise<string> =>
      (await customer.client.post('/v1/api_keys', { name: 'other', scopes })).expect(201).body.id;
    const [agreed, never] = [await keyIdOf(customer), await make(DEFAULT_ACCOUNT_SCOPES)];
    const owner = await new DataSource({ type: 'postgres', url: app.databaseUrl }).initialize();
    try {
      await owner.query(UNDO);
      await owner.transaction((tx) => tx.query(migration('1795300000037-cards-charge')));
      await owner.transaction((tx) => tx.query(migration('1795300000038-cards-charge-valid')));
    } finally {
      await owner.destroy();
    }
    const scopesOf = async (id: string): Promise<string[]> =>
      (await customer.client.get(`/v1/api_keys/${id}`)).expect(200).body.scopes;
    expect(await scopesOf(agreed)).toContain('cards:charge');
    expect(await scopesOf(never)).toEqual([...DEFAULT_ACCOUNT_SCOPES]);
    app.clock.letPass(1_000);
    await switchOn(customer, { daily_max_count: 5 });
  });
});
