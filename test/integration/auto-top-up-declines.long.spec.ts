import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { AutoTopUpChargesService } from '../../src/payments/auto-top-ups/auto-top-up-charges.service.js';
import {
  allLooked,
  availableOf,
  chargesOf,
  customerWithCard,
  intentsAtStripe,
  nextLookOf,
  readAutoTopUp,
  switchOn,
  whenLookFailed,
  type CardCustomer,
} from '../support/payments/auto-top-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { publishedTo } from '../support/webhooks/published-events.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { sessionIdOf, settled } from '../fixtures/top-up-books.js';

/** Above what the customer has: the card is charged as soon as it is switched on. */
const BELOW = { threshold_micros: '10000001' };

let app: TestApp;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
});

afterEach(async () => {
  jest.restoreAllMocks();
  control.clearFaults();
  await allLooked(app);
  await expectBooksToBalance(app.dataSource);
});

afterAll(() => app.close());

async function customerWithBadCard(card: string): Promise<CardCustomer> {
  const customer = await customerWithCard(app);
  await control.changeCard(customer.paymentMethodId, card);
  return customer;
}

/** As if the last charge had been made two hours earlier, and the wallet was looked at again. */
async function twoHoursLater(customer: CardCustomer): Promise<void> {
  await app.dataSource.query(
    `UPDATE top_ups SET created_at = created_at - interval '2 hours' WHERE account_id = $1 AND kind = 'auto'`,
    [customer.accountId],
  );
  await app.app.get(AutoTopUpChargesService).check(customer.accountId);
  await allLooked(app);
}

async function notificationsOf(customer: CardCustomer, type: string) {
  return (await publishedTo(app, customer.accountId)).filter((event) => event.type === type);
}

describe('a card that is declined', () => {
  it.each([
    ['insufficient_funds', '4000000000009995', 'insufficient_funds'],
    ['generic_decline', '4000000000000002', 'generic_decline'],
    ['card_velocity_exceeded', '4000000000006975', 'card_velocity_exceeded'],
    ['processing_error', '4000000000000119', 'processing_error'],
    ['whenever it is charged', '4000000000000341', 'generic_decline'],
  ])(
    'for now (%s) is charged once more, later; then it is off, and says why',
    async (_what, card, declineCode) => {
      const customer = await customerWithBadCard(card);
      await switchOn(customer, BELOW);
      await allLooked(app);
      const [first, ...more] = await chargesOf(app, customer.accountId);
      expect(more).toEqual([]);
      expect(first).toMatchObject({
        status: 'failed',
        failure_code: 'card_declined',
        decline_code: declineCode,
      });
      expect(await readAutoTopUp(customer)).toMatchObject({
        status: 'on',
        daily_count: 0,
        last_failure: { id: first?.id, decline_code: declineCode },
      });
      const retryAt = await nextLookOf(app, customer.accountId);
      expect(retryAt).toEqual(new Date(Number(first?.created_at) + 3_600_000));
      expect(await notificationsOf(customer, 'auto_top_up.failed')).toMatchObject([
        {
          data: {
            top_up: { id: first?.id, failure_code: 'card_declined', decline_code: declineCode },
            auto_top_up_status: 'on',
            retry_at: Math.trunc(Number(retryAt) / 1_000),
            action_url: null,
          },
        },
      ]);
      await twoHoursLater(customer);
      expect(await chargesOf(app, customer.accountId)).toHaveLength(2);
      expect(await readAutoTopUp(customer)).toMatchObject({ status: 'off', off_reason: 'payments_failed' });
      expect(await notificationsOf(customer, 'auto_top_up.failed')).toHaveLength(2);
      expect(await notificationsOf(customer, 'auto_top_up.disabled')).toMatchObject([
        { data: { off_reason: 'payments_failed' } },
      ]);
      await twoHoursLater(customer);
      expect(await chargesOf(app, customer.accountId)).toHaveLength(2);
      expect(await availableOf(customer)).toBe(10_000_000n);
    },
  );

  it.each([
    ['lost', '4000000000009987', 'card_refused', 'lost_card'],
    ['stolen', '4000000000009979', 'card_refused', 'stolen_card'],
    ['wrong in its data', '4000000000000127', 'card_refused', 'incorrect_cvc'],
    ['expired', '4000000000000069', 'card_expired', 'expired_card'],
  ])('for good, because it is %s, is never charged again: off at once', async (_what, card, reason, code) => {
    const customer = await customerWithBadCard(card);
    await switchOn(customer, BELOW);
    await allLooked(app);
    expect(await readAutoTopUp(customer)).toMatchObject({
      status: 'off',
      off_reason: reason,
      last_failure: { failure_code: 'card_declined', decline_code: code },
    });
    expect(await notificationsOf(customer, 'auto_top_up.disabled')).toMatchObject([
      { data: { off_reason: reason } },
    ]);
    await twoHoursLater(customer);
    expect(await chargesOf(app, customer.accountId)).toHaveLength(1);
  });

  it('once, and pays then, has no failures in a row', async () => {
    const customer = await customerWithBadCard('4000000000009995');
    await switchOn(customer, { ...BELOW, threshold_micros: '100000000' });
    await allLooked(app);
    await control.changeCard(customer.paymentMethodId, '4242424242424242');
    await twoHoursLater(customer);
    expect(await availableOf(customer)).toBe(30_000_000n);
    await control.changeCard(customer.paymentMethodId, '4000000000009995');
    await twoHoursLater(customer);
    expect((await chargesOf(app, customer.accountId)).map(({ status }) => status)).toEqual([
      'failed',
      'paid',
      'failed',
    ]);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on' });
  });

  it('starts again when the account switches it on again', async () => {
    const customer = await customerWithBadCard('4000000000009987');
    await switchOn(customer, BELOW);
    await allLooked(app);
    await control.changeCard(customer.paymentMethodId, '4242424242424242');
    await switchOn(customer, BELOW);
    await twoHoursLater(customer);
    expect(await availableOf(customer)).toBe(30_000_000n);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on', off_reason: null });
  });

  it('counts against the limit of refused cards, which holds for auto top-up as well', async () => {
    const { accountId, ...customer } = await customerWithBadCard('4000000000009995');
    await switchOn({ accountId, ...customer }, BELOW);
    await allLooked(app);
    const counted = 'SELECT count(*)::int AS count FROM payment_failures WHERE account_id = $1';
    expect(await app.dataSource.query(counted, [accountId])).toEqual([{ count: 1 }]);
    await app.dataSource.query(
      `INSERT INTO payment_failures SELECT account_id, 'ch_' || n, top_up_id, client_address, reason, failed_at
         FROM payment_failures, generate_series(1, 9) n WHERE account_id = $1`,
      [accountId],
    );
    await twoHoursLater({ accountId, ...customer });
    expect(await chargesOf(app, accountId)).toHaveLength(1);
    const look = await nextLookOf(app, accountId);
    expect(Number(look) - Date.now()).toBeGreaterThan(23 * 3_600_000);
  });
});

describe('a bank that wants the customer there', () => {
  const ASKS_ALWAYS = '4000002760003184';

  it('brings the customer back to a payment page; when they have paid there, auto top-up is on again', async () => {
    const customer = await customerWithBadCard(ASKS_ALWAYS);
    await switchOn(customer, BELOW);
    await allLooked(app);
    const shown = await readAutoTopUp(customer);
    expect(shown).toMatchObject({
      status: 'action_required',
      off_reason: null,
      action_url: expect.stringContaining('/c/pay/cs_test_'),
      last_failure: { failure_code: 'authentication_required' },
    });
    expect(await notificationsOf(customer, 'auto_top_up.failed')).toMatchObject([
      { data: { action_url: shown['action_url'], auto_top_up_status: 'action_required' } },
    ]);
    await twoHoursLater(customer);
    expect(await chargesOf(app, customer.accountId)).toHaveLength(1);

    await control.pay(sessionIdOf(String(shown['action_url'])), '4000002500003155');
    await settled(app);
    await allLooked(app);
    expect(await availableOf(customer)).toBe(30_000_000n);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on', action_url: null });
    expect(await chargesOf(app, customer.accountId)).toHaveLength(1);
    expect(await notificationsOf(customer, 'auto_top_up.disabled')).toEqual([]);
  });

  it('does not charge the card on top of what the customer pays there, when the events of the card come before those of the payment', async () => {
    const customer = await customerWithBadCard(ASKS_ALWAYS);
    await switchOn(customer, BELOW);
    await allLooked(app);
    const { action_url: url } = await readAutoTopUp(customer);
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(sessionIdOf(String(url)), '4000002500003155');
    control.setWebhookFaults({ loseEvents: false });
    const [paid] = control.events('payment_intent.succeeded');
    await control.sendEvent(paid?.id ?? '');
    await settled(app);
    await allLooked(app);
    expect(await availableOf(customer)).toBe(30_000_000n);
    expect(await readAutoTopUp(customer)).toMatchObject({ status: 'on' });
    expect(await chargesOf(app, customer.accountId)).toHaveLength(1);
  });

  it('and whom the customer does not answer in time, is off', async () => {
    const customer = await customerWithBadCard(ASKS_ALWAYS);
    await switchOn(customer, BELOW);
    await allLooked(app);
    const { action_url: url } = await readAutoTopUp(customer);
    await control.expireCheckoutSession(sessionIdOf(String(url)));
    await settled(app);
    await app.app.get(AutoTopUpChargesService).check(customer.accountId);
    expect(await readAutoTopUp(customer)).toMatchObject({
      status: 'off',
      off_reason: 'authentication_required',
      action_url: null,
    });
    expect(await notificationsOf(customer, 'auto_top_up.disabled')).toHaveLength(1);
  });

  it('opens one page and notifies once, although Stripe is away when the page is opened', async () => {
    const customer = await customerWithBadCard(ASKS_ALWAYS);
    control.failRequests({ method: 'POST', pathPrefix: '/v1/checkout/sessions', outcome: 503, times: 3 });
    await switchOn(customer, BELOW);
    await whenLookFailed(app, customer.accountId);
    expect(await notificationsOf(customer, 'auto_top_up.failed')).toEqual([]);
    const looks = [1, 2, 3].map(() => app.app.get(AutoTopUpChargesService).check(customer.accountId));
    await Promise.all(looks);
    const shown = await readAutoTopUp(customer);
    expect(shown).toMatchObject({ status: 'action_required', action_url: expect.any(String) });
    expect(await notificationsOf(customer, 'auto_top_up.failed')).toHaveLength(1);
    const pages = await app.dataSource.query<unknown[]>(
      `SELECT status FROM top_ups WHERE account_id = $1 AND kind = 'checkout' AND status <> 'paid'`,
      [customer.accountId],
    );
    expect(pages).toEqual([{ status: 'pending' }]);
  });
});

describe('an answer that is lost', () => {
  it.each([
    ['after Stripe had charged', 'lost' as const],
    ['before Stripe got the request', 'reset' as const],
  ])('%s leads to one charge and one credit', async (_when, outcome) => {
    const customer = await customerWithCard(app);
    control.setWebhookFaults({ loseEvents: true });
    control.failRequests({ method: 'POST', pathPrefix: '/v1/payment_intents', outcome, times: 9 });
    await switchOn(customer, BELOW);
    await whenLookFailed(app, customer.accountId);
    control.clearFaults();
    await app.app.get(AutoTopUpChargesService).check(customer.accountId);
    await allLooked(app);
    expect(await availableOf(customer)).toBe(30_000_000n);
    const [charge, ...more] = await chargesOf(app, customer.accountId);
    expect(more).toEqual([]);
    expect(charge).toMatchObject({ status: 'paid' });
    expect(await intentsOf(customer)).toHaveLength(2);
  });

  it('is not asked for again after "off"; what Stripe charged all the same is credited', async () => {
    const customer = await customerWithCard(app);
    control.setWebhookFaults({ loseEvents: true });
    control.failRequests({ method: 'POST', pathPrefix: '/v1/payment_intents', outcome: 'lost', times: 9 });
    await switchOn(customer, BELOW);
    await whenLookFailed(app, customer.accountId);
    await customer.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
    control.clearFaults();
    await app.app
      .get(AutoTopUpChargesService)
      .check(customer.accountId)
      .catch(() => undefined);
    await allLooked(app);
    expect(await availableOf(customer)).toBe(30_000_000n);
    expect(await intentsOf(customer)).toHaveLength(2);
  });

  it('that never reached Stripe is given up after "off", and nothing is charged', async () => {
    const customer = await customerWithCard(app);
    control.failRequests({ method: 'POST', pathPrefix: '/v1/payment_intents', outcome: 'reset', times: 30 });
    await switchOn(customer, BELOW);
    await whenLookFailed(app, customer.accountId);
    const off = await customer.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
    expect(off.body).toMatchObject({ status: 'off', in_flight: { kind: 'auto', status: 'created' } });
    control.clearFaults();
    const look = app.app.get(AutoTopUpChargesService).check(customer.accountId);
    await expect(look).rejects.toThrow('may still arrive');
    app.clock.letPass(16 * 60_000);
    await app.app.get(AutoTopUpChargesService).check(customer.accountId);
    app.clock.reset();
    const charges = await chargesOf(app, customer.accountId);
    expect(charges).toMatchObject([{ status: 'failed', failure_code: 'not_charged' }]);
    expect(await intentsAtStripe(app, customer, [charges[0]?.id ?? ''])).toEqual([null]);
  });
});

describe('a payment that contradicts its quote', () => {
  it.each([
    ['another amount', { amount: 2_101, amount_received: 2_101 }],
    ['another currency', { currency: 'eur' }],
    ['less received than asked for', { amount_received: 1 }],
  ])('(%s) credits nothing, and keeps the next one from being charged', async (_what, lie) => {
    const customer = await customerWithCard(app);
    control.setWebhookFaults({ loseEvents: true });
    control.failRequests({ method: 'POST', pathPrefix: '/v1/payment_intents', outcome: 'lost', times: 9 });
    await switchOn(customer, BELOW);
    await whenLookFailed(app, customer.accountId);
    for (const { id } of await intentsOf(customer)) await control.overridePaymentIntent(id, lie);
    control.clearFaults();
    await app.app
      .get(AutoTopUpChargesService)
      .check(customer.accountId)
      .catch(() => undefined);
    await allLooked(app);
    await twoHoursLater(customer);
    expect(await chargesOf(app, customer.accountId)).toMatchObject([
      { status: 'needs_review', failure_code: 'payment_mismatch' },
    ]);
    expect(await availableOf(customer)).toBe(10_000_000n);
  });
});

/** Everything that Stripe ever made for this customer; the first one saved the card. */
async function intentsOf({ customerId }: CardCustomer): Promise<{ id: string }[]> {
  const { stripe } = app.settings;
  const url = new URL(`/v1/payment_intents?customer=${customerId}&limit=100`, stripe?.apiBase ?? '');
  const answer = await fetch(url, { headers: { authorization: `Bearer ${stripe?.secretKey}` } });
  return ((await answer.json()) as { data: { id: string }[] }).data;
}
