import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import {
  allLooked,
  availableOf,
  cardsOf,
  chargesOf,
  customerWithCard,
  endCooldown,
  intentsAtStripe,
  nextLookOf,
  OPT_IN,
  readAutoTopUp,
  saveCard,
  spend,
  switchOn,
} from '../support/payments/auto-top-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { publishedTo } from '../support/webhooks/published-events.js';
import { eventually } from '../support/processes.js';
import { sessionIdOf, settled } from '../fixtures/top-up-books.js';

let app: SharedShop;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await sharedShop();
  control = app.control;
});

afterEach(async () => {
  app.clock.reset();
  control.clearFaults();
  await allLooked(app);
});
afterAll(() => expectBooksToBalance(app.dataSource));

describe('auto top-up', () => {
  it('refills the wallet, once, when debits take it below the threshold, without anybody asking', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
    await spend(app, customer.accountId, 5_000_000n);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
    await spend(app, customer.accountId, 1n);
    await eventually('the wallet is refilled', async () => (await availableOf(customer)) === 24_999_999n);
    await allLooked(app);
    const [charge, ...more] = await chargesOf(app, customer.accountId);
    expect(more).toEqual([]);
    expect(charge).toMatchObject({ status: 'paid', charge_cents: '2100', failure_code: null });
    const transfers = await app.dataSource.query<unknown[]>(
      `SELECT kind, amount_micros, leg FROM transfers WHERE account_id = $1 AND reference = $2 ORDER BY leg`,
      [customer.accountId, `top_up:${charge?.id}`],
    );
    expect(transfers).toEqual([
      { kind: 'top_up', amount_micros: '20000000', leg: 0 },
      { kind: 'top_up_fee', amount_micros: '1000000', leg: 1 },
    ]);
    expect(await readAutoTopUp(customer)).toMatchObject({
      status: 'on',
      daily_count: 1,
      daily_charged_micros: '21000000',
      monthly_count: 1,
      in_flight: null,
      last_failure: null,
    });
    const published = await publishedTo(app, customer.accountId);
    expect(published.filter(({ type }) => type === 'top_up.succeeded')).toHaveLength(2);
    const { body } = await customer.client.get(`/v1/top_ups/${charge?.id}`);
    expect(body).toMatchObject({ kind: 'auto', status: 'paid', checkout_url: null });
  });

  it('charges at once when it is switched on while the wallet is below already', async () => {
    const customer = await customerWithCard(app);
    const answer = await switchOn(customer, { threshold_micros: '10000001' });
    expect(answer).toMatchObject({
      object: 'auto_top_up',
      status: 'on',
      off_reason: null,
      charge_cents: 2_100,
      card: { brand: 'visa', last4: '4242', exp_month: 12, exp_year: 2034, saved: true },
      consent: { words_version: OPT_IN.words_version, client_address: '127.0.0.1' },
    });
    await eventually('the wallet is refilled', async () => (await availableOf(customer)) === 30_000_000n);
  });

  it('credits once when the answer and every event of the payment come many times and out of order', async () => {
    control.setWebhookFaults({ copies: 5, reorder: true });
    const customer = await customerWithCard(app);
    await switchOn(customer, { threshold_micros: '10000001' });
    await allLooked(app);
    expect(await availableOf(customer)).toBe(30_000_000n);
    const [charge] = await chargesOf(app, customer.accountId);
    const events = control
      .events()
      .filter(({ data }) => data.object['id'] === charge?.payment_intent_id)
      .map(({ id }) => id);
    expect(events.length).toBeGreaterThan(1);
    for (const id of events) await control.sendEvent(id, { times: 3 });
    await settled(app);
    expect(await availableOf(customer)).toBe(30_000_000n);
  });

  it('records who agreed to which words, when, from where and to what, for the card and for every opt-in', async () => {
    const customer = await customerWithCard(app);
    app.clock.stop();
    await switchOn(customer);
    app.clock.letPass(60_000);
    await switchOn(customer, { credit_cents: 1_000 });
    const consents = await app.dataSource.query<unknown[]>(
      `SELECT revision, version, agreed_by LIKE 'account_key:key\\_%' AS by_key, client_address, amount_cents, card_id,
              agreed_at FROM auto_top_up_consents WHERE account_id = $1 ORDER BY revision`,
      [customer.accountId],
    );
    const same = { version: OPT_IN.words_version, by_key: true, client_address: '127.0.0.1' };
    const agreedAt = (agoMs: number): Date => new Date(app.clock.nowMs() - agoMs);
    const card_id = customer.paymentMethodId;
    expect(consents).toEqual([
      { ...same, revision: 1, amount_cents: '2000', card_id, agreed_at: agreedAt(60_000) },
      { ...same, revision: 2, amount_cents: '1000', card_id, agreed_at: agreedAt(0) },
    ]);
    const [card] = await app.dataSource.query<unknown[]>(
      `SELECT c.consent_version, c.consent_address, c.consented_by LIKE 'account_key:%' AS by_key,
              c.consented_at = t.created_at AS when_asked
         FROM saved_cards c JOIN top_ups t ON t.id = c.top_up_id WHERE c.account_id = $1`,
      [customer.accountId],
    );
    expect(card).toEqual({
      consent_version: OPT_IN.words_version,
      consent_address: '127.0.0.1',
      by_key: true,
      when_asked: true,
    });
    const forged = app.dataSource.query(
      `UPDATE auto_top_up_consents SET version = 'x' WHERE account_id = $1`,
      [customer.accountId],
    );
    await expect(forged).rejects.toThrow('permission denied');
  });

  it.each([
    [{ words_version: undefined }, 'words_version'],
    [{ words_version: '1999-01-01' }, 'words_version'],
    [{ threshold_micros: undefined }, 'threshold_micros'],
    [{ threshold_micros: '0' }, 'threshold_micros'],
    [{ threshold_micros: '-1' }, 'threshold_micros'],
    [{ credit_cents: 1.5 }, 'credit_cents'],
    [{ credit_cents: 499 }, 'credit_cents'],
    [{ daily_max_count: 0 }, 'daily_max_count'],
    [{ daily_max_charge_cents: 2_099 }, 'daily_max_charge_cents'],
    [{ daily_max_charge_cents: null }, 'daily_max_charge_cents'],
    [{ monthly_max_charge_cents: 2_099 }, 'monthly_max_charge_cents'],
    [{ cooldown_seconds: 59 }, 'cooldown_seconds'],
    [{ thresold_micros: '1' }, 'thresold_micros'],
  ])('refuses %p by name, and changes nothing', async (changes, param) => {
    const customer = await app.createCustomer();
    const body = { ...OPT_IN, ...changes };
    const answer = await customer.client.send('PUT', '/v1/auto_top_up', { body });
    expect(answer.expect(400).body.error.param).toBe(param);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'off', off_reason: 'never_enabled' });
  });

  it('is not switched on without a saved card, nor with one that was paid without saving it', async () => {
    const customer = await app.createCustomer();
    const opened = await customer.client.post('/v1/top_ups', { credit_cents: 1_000 });
    await control.pay(sessionIdOf(opened.body.checkout_url as string));
    await settled(app);
    const refused = await customer.client.send('PUT', '/v1/auto_top_up', { body: OPT_IN });
    expect(refused.expect(409).body.error.code).toBe('saved_card_missing');
    const off = await customer.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
    expect(off.expect(200).body).toMatchObject({ status: 'off', off_reason: 'never_enabled', card: null });
  });

  it('is seen by the account and by operators, and by no one else', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    const theirs = await app.operator.get(`/v1/accounts/${customer.accountId}/auto_top_up`);
    expect(theirs.expect(200).body).toMatchObject({ status: 'on', card: { last4: '4242' } });
    const reader = await app.createCustomer({ scopes: ['wallet:read'] });
    expect(await readAutoTopUp(reader)).toMatchObject({ status: 'off', card: null });
    (await reader.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } })).expect(403);
    (await reader.client.get(`/v1/accounts/${customer.accountId}/auto_top_up`)).expect(403);
    (await app.operator.get('/v1/accounts/acct_01KB2H7Q0000000000000000AA/auto_top_up')).expect(404);
  });
});

describe('a cap', () => {
  it('of a day holds, and the next look is the next day, UTC', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer, { daily_max_count: 1 });
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    await endCooldown(app, customer.accountId);
    await spend(app, customer.accountId, 20_000_000n);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toHaveLength(1);
    const look = await nextLookOf(app, customer.accountId);
    expect(look?.toISOString()).toMatch(/T00:00:00\.000Z$/);
    expect(Number(look) - app.clock.nowMs()).toBeLessThanOrEqual(24 * 3_600_000);
  });

  it('of money counts what the card pays, fee included', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer, { daily_max_charge_cents: 4_199 });
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    await endCooldown(app, customer.accountId);
    await spend(app, customer.accountId, 20_000_000n);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toHaveLength(1);
  });

  it('is kept by the database as well, against any writer', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer, { daily_max_count: 1, threshold_micros: '10000001' });
    await allLooked(app);
    const copy = `INSERT INTO top_ups SELECT (jsonb_populate_record(t, jsonb_build_object(
      'id', $2::text, 'status', 'created', 'paid_at', null, 'dispatched_at', null, 'payment_intent_id', null))).*
      FROM top_ups t WHERE account_id = $1 AND kind = 'auto'`;
    const again = app.dataSource.query(copy, [customer.accountId, 'tu_01KB2H7Q0000000000000000AB']);
    await expect(again).rejects.toMatchObject({ driverError: { constraint: 'top_ups_auto_within_caps' } });
  });

  it('of time between two charges holds, and the wallet is looked at again when it is over', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer, { cooldown_seconds: 600 });
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    await spend(app, customer.accountId, 20_000_000n);
    await allLooked(app);
    const [charge, ...more] = await chargesOf(app, customer.accountId);
    expect(more).toEqual([]);
    expect(await nextLookOf(app, customer.accountId)).toEqual(new Date(Number(charge?.created_at) + 600_000));
    await moveChargesBack(customer.accountId);
    await lookNow(customer.accountId);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toHaveLength(2);
    expect(await availableOf(customer)).toBe(24_000_000n);
  });
});

describe('off means off', () => {
  it('for looks that are queued, and for charges that have not gone out', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    await spend(app, customer.accountId, 4_000_000n);
    const off = await customer.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
    expect(off.expect(200).body).toMatchObject({
      status: 'off',
      off_reason: 'switched_off',
      in_flight: null,
    });
    await spend(app, customer.accountId, 4_000_000n);
    await lookNow(customer.accountId);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
    const published = await publishedTo(app, customer.accountId);
    expect(published.filter(({ type }) => type === 'auto_top_up.disabled')).toMatchObject([
      { data: { status: 'off', off_reason: 'switched_off' } },
    ]);
  });

  it('for a wallet that is frozen; its unfreeze brings the charge', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    const account = `/v1/accounts/${customer.accountId}`;
    (await app.operator.post(`${account}/freeze`, { reason: 'test' })).expect(200);
    await switchOn(customer, { threshold_micros: '10000001' });
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
    (await app.operator.post(`${account}/unfreeze`, { reason: 'test' })).expect(200);
    await eventually('the wallet is refilled', async () => (await availableOf(customer)) === 30_000_000n);
  });

  it('for an account whose payment is disputed, even when an operator has unfrozen its wallet', async () => {
    const customer = await customerWithCard(app);
    const [paid] = await app.dataSource.query<{ payment_intent_id: string }[]>(
      'SELECT payment_intent_id FROM top_ups WHERE account_id = $1',
      [customer.accountId],
    );
    await control.createDispute({ charge: paid?.payment_intent_id ?? '' });
    await settled(app);
    const unfreeze = await app.operator.post(`/v1/accounts/${customer.accountId}/unfreeze`, {
      reason: 'test',
    });
    unfreeze.expect(200);
    const wallet = await customer.client.get('/v1/wallet');
    expect(wallet.body).toMatchObject({ status: 'active', available_micros: '0' });
    await switchOn(customer, { threshold_micros: '1000000' });
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
  });

  it('and says why, as long as it is held back', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on', held_back_by: null });
    const account = `/v1/accounts/${customer.accountId}`;
    (await app.operator.post(`${account}/freeze`, { reason: 'test' })).expect(200);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on', held_back_by: 'wallet_frozen' });
    (await app.operator.post(`${account}/unfreeze`, { reason: 'test' })).expect(200);
    expect(await readAutoTopUp(customer)).toMatchObject({ held_back_by: null });
    const [paid] = await app.dataSource.query<{ payment_intent_id: string }[]>(
      'SELECT payment_intent_id FROM top_ups WHERE account_id = $1',
      [customer.accountId],
    );
    await control.createDispute({ charge: paid?.payment_intent_id ?? '' });
    await settled(app);
    const disputed = { status: 'on', held_back_by: 'payment_disputed' };
    expect(await readAutoTopUp(customer)).toMatchObject(disputed);
    expect((await app.operator.get(`${account}/auto_top_up`)).expect(200).body).toMatchObject(disputed);
  });
});

describe('the card that is charged', () => {
  it('is the one that was saved last', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    const next = await saveCard(app, customer, '5555555555554444');
    expect(await readAutoTopUp(customer)).toMatchObject({ card: { brand: 'mastercard', last4: '4444' } });
    expect(await cardsOf(app, customer.accountId)).toHaveLength(2);
    await spend(app, customer.accountId, 16_000_000n);
    await allLooked(app);
    const rows = await app.dataSource.query<unknown[]>(
      `SELECT payment_method_id FROM top_ups WHERE account_id = $1 AND kind = 'auto'`,
      [customer.accountId],
    );
    expect(rows).toEqual([{ payment_method_id: next.paymentMethodId }]);
  });

  it('is not charged once it is removed at Stripe: auto top-up is off, and says why', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    await detach(customer.paymentMethodId);
    await settled(app);
    expect(await readAutoTopUp(customer)).toMatchObject({
      status: 'off',
      off_reason: 'card_removed',
      card: { saved: false },
    });
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
  });

  it('is found removed when the event of it was lost, and nothing is charged', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    control.setWebhookFaults({ loseEvents: true });
    await detach(customer.paymentMethodId);
    control.setWebhookFaults({ loseEvents: false });
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    const [charge, ...more] = await chargesOf(app, customer.accountId);
    expect(more).toEqual([]);
    expect(charge).toMatchObject({ status: 'failed', failure_code: 'card_unusable' });
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'off', off_reason: 'card_removed' });
    expect(await intentsAtStripe(app, customer, [charge?.id ?? ''])).toEqual([null]);
  });

  it('is not charged past its expiry', async () => {
    const customer = await customerWithCard(app);
    await switchOn(customer);
    await app.dataSource.query('UPDATE saved_cards SET exp_year = 2024 WHERE account_id = $1', [
      customer.accountId,
    ]);
    await spend(app, customer.accountId, 6_000_000n);
    await allLooked(app);
    expect(await chargesOf(app, customer.accountId)).toEqual([]);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'off', off_reason: 'card_expired' });
  });
});

async function detach(paymentMethodId: string): Promise<void> {
  const { stripe } = app.settings;
  const url = new URL(`/v1/payment_methods/${paymentMethodId}/detach`, stripe?.apiBase ?? '');
  const headers = { authorization: `Bearer ${stripe?.secretKey}` };
  const answer = await fetch(url, { method: 'POST', headers });
  expect(answer.status).toBe(200);
}

/** As if the charges so far had been made ten minutes earlier, even if that was yesterday. */
async function moveChargesBack(accountId: string): Promise<void> {
  await app.dataSource.query(
    `UPDATE top_ups SET created_at = created_at - interval '10 minutes' WHERE account_id = $1 AND kind = 'auto'`,
    [accountId],
  );
}

async function lookNow(accountId: string): Promise<void> {
  await app.dataSource.query(
    `SELECT graphile_worker.add_job('auto_top_up', json_build_object('account_id', $1::text))`,
    [accountId],
  );
}
