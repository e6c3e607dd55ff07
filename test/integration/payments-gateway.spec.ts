import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { cents } from '../../src/platform/common/money.js';
import type { NewCheckoutSession } from '../../src/payments/stripe/payment-gateway.js';
import {
  CustomerMissingError,
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from '../../src/payments/stripe/payments.errors.js';
import { StripeApi } from '../../src/payments/stripe/stripe-api.js';
import { StripeGateway } from '../../src/payments/stripe/stripe.gateway.js';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import '../support/app/stripe-pauses.js';

let stripe: SandboxStripe;
let gateway: StripeGateway;

beforeAll(async () => {
  Logger.overrideLogger(false);
  stripe = await startSandboxStripe({ apiKey: 'sk_test_the_right_key' });
  gateway = gatewayAt(stripe.baseUrl);
});

afterEach(() => stripe.control.clearFaults());

afterAll(async () => {
  await stripe.close();
});

function gatewayAt(apiBase: string, secretKey = 'sk_test_the_right_key'): StripeGateway {
  const stripe = { secretKey, webhookSecret: 'whsec_unused', apiBase: new URL(apiBase) };
  return new StripeGateway(new StripeApi({ stripe }));
}

async function aPage(changes: Partial<NewCheckoutSession> = {}): Promise<NewCheckoutSession> {
  return {
    topUpId: 'tu_01KB2H7Q0000000000000000AA',
    accountId: 'acct_01KB2H7Q0000000000000000AA',
    customerId:
      changes.customerId ??
      (await gateway.createCustomer({ accountId: 'acct_1', name: 'Acme' }, 'cus:acct_1')),
    description: 'API credit',
    lineItems: [
      { name: 'API credit', amountCents: cents(1_000n) },
      { name: 'Platform fee (5%)', amountCents: cents(50n) },
    ],
    saveCard: false,
    automaticTax: false,
    successUrl: 'http://127.0.0.1:3000/checkout/complete',
    cancelUrl: 'http://127.0.0.1:3000/checkout/canceled',
    expiresAtMs: Date.now() + 3_600_000,
    ...changes,
  };
}

/** The whole object, as Stripe has it. */
async function readFromStripe(path: string): Promise<Record<string, unknown>> {
  const headers = { authorization: 'Bearer sk_test_the_right_key' };
  return (await (await fetch(`${stripe.baseUrl}${path}`, { headers })).json()) as Record<string, unknown>;
}

describe('a checkout session at Stripe', () => {
  it('shows credit and fee as two lines in dollars, and carries our ids on everything it makes', async () => {
    const page = await aPage({ saveCard: true });
    const session = await gateway.createCheckoutSession(page, 'wire-form');
    expect(session).toMatchObject({
      status: 'open',
      paymentStatus: 'unpaid',
      currency: 'usd',
      livemode: false,
      amountSubtotalCents: 1_050n,
      amountTotalCents: 1_050n,
      clientReferenceId: page.topUpId,
      metadata: { top_up_id: page.topUpId, account_id: page.accountId },
    });
    const items = await readFromStripe(`/v1/checkout/sessions/${session.id}/line_items`);
    expect(items['data']).toMatchObject([
      { description: 'API credit', amount_total: 1_000, quantity: 1 },
      { description: 'Platform fee (5%)', amount_total: 50, quantity: 1 },
    ]);
    expect(await readFromStripe(`/v1/checkout/sessions/${session.id}`)).toMatchObject({
      mode: 'payment',
      customer: page.customerId,
      adaptive_pricing: { enabled: false },
      invoice_creation: { enabled: true, invoice_data: { metadata: { top_up_id: page.topUpId } } },
      expires_at: Math.floor(page.expiresAtMs / 1_000),
    });
    await stripe.control.pay(session.id);
    const paid = await gateway.retrieveCheckoutSession(session.id);
    expect(paid).toMatchObject({
      status: 'complete',
      paymentStatus: 'paid',
      paymentIntentStatus: 'succeeded',
    });
    expect(await readFromStripe(`/v1/payment_intents/${paid?.paymentIntentId}`)).toMatchObject({
      metadata: { top_up_id: page.topUpId, account_id: page.accountId },
      setup_future_usage: 'off_session',
      description: 'API credit',
    });
  });

  it('is made once for one key, also when the first answer was lost on the way', async () => {
    const page = await aPage();
    stripe.control.failRequests({ method: 'POST', pathPrefix: '/v1/checkout/sessions', outcome: 'lost' });
    const first = await gateway.createCheckoutSession(page, 'lost-answer');
    // As after a restart: another client, the same key.
    const again = await gatewayAt(stripe.baseUrl).createCheckoutSession(page, 'lost-answer');
    expect(again.id).toBe(first.id);
  });

  it('is refused, not made twice, when a key comes back with another request', async () => {
    await gateway.createCheckoutSession(await aPage(), 'reused');
    const other = gateway.createCheckoutSession(await aPage({ description: 'another' }), 'reused');
    await expect(other).rejects.toMatchObject({
      name: 'PaymentRequestRefusedError',
      providerCode: 'idempotency_error',
    });
  });

  it('can be expired, once', async () => {
    const session = await gateway.createCheckoutSession(await aPage(), 'to-expire');
    expect(await gateway.expireCheckoutSession(session.id)).toMatchObject({ status: 'expired', url: null });
    await expect(gateway.expireCheckoutSession(session.id)).rejects.toThrow(PaymentRequestRefusedError);
  });

  it('is null when Stripe does not know it', async () => {
    expect(await gateway.retrieveCheckoutSession('cs_test_unknown')).toBeNull();
  });

  it('distinguishes a customer that Stripe lost from any other refusal', async () => {
    const lost = gateway.createCheckoutSession(await aPage({ customerId: 'cus_gone' }), 'lost-customer');
    await expect(lost).rejects.toThrow(CustomerMissingError);
    const tooSoon = gateway.createCheckoutSession(await aPage({ expiresAtMs: Date.now() }), 'too-soon');
    await expect(tooSoon).rejects.toMatchObject({ param: 'expires_at', name: 'PaymentRequestRefusedError' });
  });
});

describe('Stripe in trouble', () => {
  it.each([500, 503])('is asked again after a passing %s', async (outcome) => {
    stripe.control.failRequests({ method: 'POST', pathPrefix: '/v1/customers', outcome, times: 2 });
    expect(await gateway.createCustomer({ accountId: 'acct_2', name: 'Acme' }, `passing-${outcome}`)).toMatch(
      /^cus_/,
    );
  });

  it('is reported as unavailable when it fails again and again, with nothing made', async () => {
    stripe.control.failRequests({ method: 'POST', pathPrefix: '/v1/customers', outcome: 500, times: 3 });
    await expect(gateway.createCustomer({ accountId: 'acct_3', name: 'Acme' }, 'lasting')).rejects.toThrow(
      PaymentsUnavailableError,
    );
  });

  it('is reported as unavailable when no server answers', async () => {
    await expect(
      gatewayAt('http://127.0.0.1:9').createCustomer({ accountId: 'acct_4', name: 'Acme' }, 'k'),
    ).rejects.toThrow(PaymentsUnavailableError);
  });

  it('is reported as unavailable when our key is refused, and when there is no key at all', async () => {
    const wrongKey = gatewayAt(stripe.baseUrl, 'sk_test_a_wrong_key');
    await expect(wrongKey.createCustomer({ accountId: 'acct_5', name: 'Acme' }, 'k')).rejects.toThrow(
      PaymentsUnavailableError,
    );
    const unconfigured = new StripeGateway(new StripeApi({ stripe: null }));
    await expect(unconfigured.createCustomer({ accountId: 'acct_5', name: 'Acme' }, 'k')).rejects.toThrow(
      PaymentsUnavailableError,
    );
  });

  it('knows real money from play money by the key', () => {
    expect(gateway.livemode).toBe(false);
    expect(gatewayAt(stripe.baseUrl, 'sk_live_x').livemode).toBe(true);
    expect(gatewayAt(stripe.baseUrl, 'rk_live_x').livemode).toBe(true);
    expect(gatewayAt(stripe.baseUrl, 'rk_test_live_x').livemode).toBe(false);
  });
});

describe('an answer that is not what was asked for', () => {
  let server: Server;
  let answer: { status: number; body: string };

  beforeAll(async () => {
    server = createServer((_request, response) => {
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });

  afterAll(() => new Promise((resolve) => server.close(resolve)));

  it.each([
    [200, '{"message": "hello"}'],
    [404, '{"message": "no such route"}'],
    [502, '{"message": "bad gateway"}'],
    [200, '{"id": "cus_1", "object": "customer"}'],
    [200, 'null'],
    [200, '<html>a proxy</html>'],
    [200, ''],
  ])('is not believed: status %s, %s', async (status, body) => {
    answer = { status, body };
    const { port } = server.address() as AddressInfo;
    const confused = gatewayAt(`http://127.0.0.1:${port}`);
    await expect(confused.retrieveCheckoutSession('cs_test_1')).rejects.toThrow(PaymentsUnavailableError);
  });
});
