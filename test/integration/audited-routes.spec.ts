import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import type { AuditAct } from '../../src/identity/audit-log/audit-event.js';
import { generate } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { payPage, settled, startTopUp } from '../fixtures/top-up-books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';
import { PROVIDER } from '../support/images/provider-keys.js';
import { customerWithCard, OPT_IN } from '../support/payments/auto-top-up.js';
import { disputeInEuros } from '../support/payments/euro-dispute.js';
import { beginHistory } from '../support/payments/return-history.js';

type Operation = { readonly operationId: string; readonly security?: readonly Record<string, unknown>[] };
type Route = Operation & { readonly method: string; readonly path: string };

const { paths } = JSON.parse(readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')) as {
  paths: Record<string, Record<string, Operation>>;
};
const routes = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]): Route => ({ method, path, ...operation })),
);

/** What an operator reads of customers, or of the whole ledger; an account's own name and id are no secret from operators. */
const isRecordedRead = ({ method, path, security = [] }: Route): boolean =>
  method === 'get' &&
  security.some((either) => 'operator_key' in either) &&
  /^\/v1\/(accounts\/\{id\}\/|exports\/|reports\/)/.test(path);

const mustBeKnown = routes.filter((route) => route.method !== 'get' || isRecordedRead(route));

let app: TestApp;
let control: SandboxStripeControl;
let customer: TestCustomer;

beforeAll(async () => {
  app = await startTestApp({ stripe: true, blackForestLabs: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  customer = await app.createCustomer({ grantMicros: 1_000_000n });
});
afterAll(async () => {
  await expectBooksToBalance(app.dataSource);
  await app.close();
});

const account = (): string => `/v1/accounts/${customer.accountId}`;
const read = (path: string) => app.operator.get(path);
const ofAccount = (what: string) => read(`${account()}/${what}`);
const put = (path: string, body: unknown) => customer.client.send('PUT', path, { body });

async function newKey(): Promise<string> {
  const made = await customer.client.post('/v1/api_keys', { name: 'another', scopes: ['generate'] });
  return String(made.expect(201).body.id);
}

async function newEndpoint(): Promise<string> {
  const made = await customer.client.post('/v1/webhook_endpoints', {
    url: 'https://receiver.example/hook',
    events: ['wallet.low'],
  });
  return `/v1/webhook_endpoints/${String(made.expect(201).body.id)}`;
}

async function paidTopUp() {
  const topUp = await startTopUp(app);
  return payPage(app, topUp);
}

async function review(): Promise<string> {
  const topUp = await startTopUp(app);
  control.setWebhookFaults({ delayMs: 50 });
  await control.pay(topUp.sessionId);
  await control.overrideCheckoutSession(topUp.sessionId, { amount_subtotal: 105, amount_total: 105 });
  await settled(app);
  control.clearFaults();
  const { body } = (await app.operator.get('/v1/payment_reviews?status=open&limit=1')).expect(200);
  return `/v1/payment_reviews/${String(body.data[0].id)}`;
}

/** For each operation that is recorded: what it is recorded as, and a request that does it. */
const RECORDED: Readonly<Record<string, readonly [AuditAct, () => Promise<TestAnswer>]>> = {
  createAccount: ['account.created', () => app.operator.post('/v1/accounts', { name: 'Recorded' })],
  adjustCredit: [
    'credit.adjusted',
    () => app.operator.post(`${account()}/adjustments`, { amount_micros: '1000', reason: 'a mistake' }),
  ],
  grantCredit: [
    'credit.granted',
    () => app.operator.post(`${account()}/grants`, { amount_micros: '1000', reason: 'welcome' }),
  ],
  createAccountApiKey: [
    'api_key.created',
    () => app.operator.post(`${account()}/api_keys`, { name: 'made', scopes: ['generate'] }),
  ],
  updateAccountApiKey: [
    'api_key.limits_changed',
    async () =>
      app.operator.send('PATCH', `${account()}/api_keys/${await newKey()}`, {
        body: { spend_limits: { total_micros: '1000' } },
      }),
  ],
  revokeAccountApiKey: [
    'api_key.revoked',
    async () => app.operator.delete(`${account()}/api_keys/${await newKey()}`),
  ],
  freezeWallet: ['wallet.frozen', () => app.operator.post(`${account()}/freeze`, { reason: 'fraud' })],
  unfreezeWallet: [
    'wallet.unfrozen',
    async () => {
      (await app.operator.post(`${account()}/freeze`, { reason: 'fraud' })).expect(200);
      return app.operator.post(`${account()}/unfreeze`, { reason: 'no fraud' });
    },
  ],
  deleteAccountImages: ['account.images_deleted', () => app.operator.delete(`${account()}/images`)],
  setAccountLimits: [
    'account.limits_changed',
    () =>
      app.operator.send('PUT', `${account()}/limits`, { body: { images_per_minute: 100, reason: 'asked' } }),
  ],
  writeOffDispute: [
    'dispute.written_off',
    async () => {
      const history = await beginHistory(app, control);
      await history.take(['spend', 1_000]);
      await history.take(['dispute', 'lost']);
      return app.operator.post(
        `/v1/accounts/${history.accountId}/disputes/${history.disputeId}/write_off`,
        {},
      );
    },
  ],
  writeOffRefund: [
    'refund.written_off',
    async () => {
      const history = await beginHistory(app, control);
      await history.take(['spend', 900]);
      await history.take(['refund_elsewhere', 525]);
      const freezes = await app.operator.get(`/v1/accounts/${history.accountId}/freezes`);
      const refund = String(freezes.expect(200).body.data[0].source_id);
      return app.operator.post(`/v1/accounts/${history.accountId}/refunds/${refund}/write_off`, {});
    },
  ],
  refundAccountTopUp: [
    'refund.requested',
    async () => {
      const topUp = await paidTopUp();
      return app.operator.post(`/v1/accounts/${topUp.customer.accountId}/top_ups/${topUp.id}/refund`, {});
    },
  ],
  refundTopUp: [
    'refund.requested',
    async () => {
      const topUp = await paidTopUp();
      return topUp.customer.client.post(`/v1/top_ups/${topUp.id}/refund`, {});
    },
  ],
  createOperatorKey: [
    'operator_key.created',
    () => app.operator.post('/v1/operator_keys', { name: 'finance', scopes: ['finance'] }),
  ],
  revokeOperatorKey: [
    'operator_key.revoked',
    async () => {
      const made = await app.operator.post('/v1/operator_keys', { name: 'finance', scopes: ['finance'] });
      return app.operator.delete(`/v1/operator_keys/${String(made.expect(201).body.id)}`);
    },
  ],
  dismissReviewedPayment: [
    'payment_review.dismissed',
    async () => app.operator.post(`${await review()}/dismiss`, { reason: 'settled elsewhere' }),
  ],
  returnReviewedPayment: [
    'payment_review.returned',
    async () => app.operator.post(`${await review()}/return`, { reason: 'not what was quoted' }),
  ],
  settleBalanceTransaction: [
    'stripe_balance_transaction.settled',
    async () =>
      app.operator.post(
        `/v1/stripe_balance_transactions/${(await disputeInEuros(app, control)).balanceTransactionId}/settle`,
        { reason: 'the bank keeps it' },
      ),
  ],
  createApiKey: [
    'api_key.created',
    () => customer.client.post('/v1/api_keys', { name: 'made', scopes: ['generate'] }),
  ],
  updateApiKey: [
    'api_key.limits_changed',
    async () =>
      customer.client.send('PATCH', `/v1/api_keys/${await newKey()}`, {
        body: { spend_limits: { total_micros: '1000' } },
      }),
  ],
  revokeApiKey: ['api_key.revoked', async () => customer.client.delete(`/v1/api_keys/${await newKey()}`)],
  attachProviderKey: [
    'provider_key.attached',
    () => put(`/v1/provider_keys/${PROVIDER}`, { key: 'bfl_0123456789abcdef' }),
  ],
  deleteProviderKey: [
    'provider_key.removed',
    async () => {
      (await put(`/v1/provider_keys/${PROVIDER}`, { key: 'bfl_0123456789abcdef' })).expect(200);
      return customer.client.delete(`/v1/provider_keys/${PROVIDER}`);
    },
  ],
  deleteGenerationImages: [
    'generation.images_deleted',
    async () => {
      const made = await app.createCustomer({ grantMicros: 1_000_000n });
      const { headers } = (await generate(made)).expect(200);
      return made.client.delete(`/v1/generations/${headers.get('x-generation-id')}/images`);
    },
  ],
  replaceAutoTopUp: [
    'auto_top_up.changed',
    async () => (await customerWithCard(app)).client.send('PUT', '/v1/auto_top_up', { body: OPT_IN }),
  ],
  deleteSavedCard: [
    'saved_card.removed',
    async () => {
      const { client, paymentMethodId } = await customerWithCard(app);
      return client.delete(`/v1/saved_cards/${paymentMethodId}`);
    },
  ],
  updateWalletAlerts: [
    'alerts.changed',
    () => put('/v1/wallet/alerts', { email: 'billing@customer.example' }),
  ],
  createWebhookEndpoint: [
    'webhook_endpoint.created',
    () =>
      customer.client.post('/v1/webhook_endpoints', {
        url: 'https://receiver.example/x',
        events: ['wallet.low'],
      }),
  ],
  updateWebhookEndpoint: [
    'webhook_endpoint.changed',
    async () => customer.client.send('PATCH', await newEndpoint(), { body: { enabled: false } }),
  ],
  deleteWebhookEndpoint: [
    'webhook_endpoint.deleted',
    async () => customer.client.delete(await newEndpoint()),
  ],
  rotateWebhookSecret: [
    'webhook_endpoint.secret_rotated',
    async () => customer.client.post(`${await newEndpoint()}/rotate_secret`),
  ],
  listAccountApiKeys: ['account.read', () => ofAccount('api_keys')],
  retrieveAccountAutoTopUp: ['account.read', () => ofAccount('auto_top_up')],
  listAccountDisputes: ['account.read', () => ofAccount('disputes')],
  listAccountFreezes: ['account.read', () => ofAccount('freezes')],
  retrieveAccountLimits: ['account.read', () => ofAccount('limits')],
  listAccountProviderKeys: ['account.read', () => ofAccount('provider_keys')],
  listAccountRefunds: [
    'account.read',
    async () => {
      const topUp = await startTopUp(app);
      return read(`/v1/accounts/${topUp.customer.accountId}/top_ups/${topUp.id}/refunds`);
    },
  ],
  listAccountTransactions: ['account.read', () => ofAccount('transactions')],
  retrieveAccountUsage: ['account.read', () => ofAccount('usage')],
  retrieveAccountWallet: ['account.read', () => ofAccount('wallet')],
  exportLedger: ['ledger.exported', () => read('/v1/exports/ledger?format=csv')],
  reportStripeReconciliation: ['report.read', () => read('/v1/reports/stripe_reconciliation')],
};

const SPENDING = 'It spends credit: the ledger is its record, with its actor.';
/** What changes something and is not recorded, and why. */
const EXEMPT: Readonly<Record<string, string>> = {
  createImage: SPENDING,
  editImage: SPENDING,
  createDebit: SPENDING,
  createDebitBatch: SPENDING,
  createHold: SPENDING,
  captureHold: SPENDING,
  voidHold: SPENDING,
  createTopUp: 'It opens a payment page; the top-up is its record, with its actor and address.',
  createQuote: 'It changes nothing.',
  testProviderKey: 'It asks the provider and changes nothing.',
  testWebhookEndpoint: 'It sends a test event, which the list of deliveries shows.',
  redeliverWebhook: 'It sends an event again, which the list of deliveries shows.',
  alertConfirm: 'The owner of a mailbox decides, by a link: no key acts.',
  alertUnsubscribe: 'The owner of a mailbox decides, by a link: no key acts.',
  receiveStripeEvent: 'Stripe reports; the inbox is its record.',
};

describe('an operation that manages something', () => {
  it('is recorded or says why not, each of them, and so is what operators read of customers', () => {
    const known = [...Object.keys(RECORDED), ...Object.keys(EXEMPT)];
    expect(known.sort()).toEqual(mustBeKnown.map(({ operationId }) => operationId).sort());
    expect(mustBeKnown.length).toBeGreaterThan(50);
  });

  it.each(Object.entries(RECORDED))(
    '%s is recorded once, with its key, request and address',
    async (_, [act, send]) => {
      const answer = await send();
      if (answer.status < 200 || answer.status > 299) answer.expect(200);
      const events = await app.dataSource.query(
        `SELECT act, split_part(actor, ':', 1) AS kind, client_address FROM audit_events WHERE request_id = $1`,
        [answer.headers.get('x-request-id')],
      );
      const [route] = routes.filter(({ operationId }) => RECORDED[operationId]?.[1] === send);
      const kind = route?.security?.some((either) => 'operator_key' in either)
        ? 'operator_key'
        : 'account_key';
      expect(events).toEqual([{ act, kind, client_address: '127.0.0.1' }]);
    },
  );

  it('is recorded as what it is where one operation does two things: automatic top-up that is switched off', async () => {
    const { client } = await customerWithCard(app);
    (await client.send('PUT', '/v1/auto_top_up', { body: OPT_IN })).expect(200);
    const answer = await client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
    const requestId = answer.expect(200).headers.get('x-request-id');
    const { body } = (await app.operator.get('/v1/audit_log?act=auto_top_up.switched_off')).expect(200);
    expect(body.data).toMatchObject([{ request_id: requestId }]);
  });

  it('leaves no secret in the record, no address of a mailbox and no whole URL', async () => {
    const rows = await app.dataSource.query<{ row: string }[]>(
      'SELECT audit_events::text AS row FROM audit_events',
    );
    const all = rows.map(({ row }) => row).join('\n');
    expect(all).toContain('receiver.example');
    expect(all).not.toMatch(/sk-cof-|op-cof-|bfl_0123456789abcdef|whsec_|billing@|receiver\.example\//);
  });
});
