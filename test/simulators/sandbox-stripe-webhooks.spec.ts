import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import {
  startSandboxStripe,
  type SandboxStripe,
  type SandboxStripeOptions,
} from 'coffer-sandbox/stripe/server';
import { TestClock } from '../support/app/test-clock.js';
import { stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { WEBHOOK_SECRET, WebhookReceiver } from '../support/webhooks/webhook-receiver.js';
import { eventually } from '../support/processes.js';

type Json = Readonly<Record<string, unknown>>;

const PAYMENT_EVENTS = [
  'payment_intent.created',
  'charge.succeeded',
  'payment_intent.succeeded',
  'checkout.session.completed',
];

let receiver: WebhookReceiver;
const open: SandboxStripe[] = [];

async function start(options: SandboxStripeOptions = {}): Promise<SandboxStripe> {
  const webhookEndpoint = { url: receiver.url, secret: WEBHOOK_SECRET };
  const sandbox = await startSandboxStripe({ webhookEndpoint, webhookRetryDelayMs: 20, ...options });
  open.push(sandbox);
  return sandbox;
}

function sdkFor(sandbox: SandboxStripe): Stripe {
  return stripeSdkFor(sandbox.baseUrl);
}

async function openSession(sandbox: SandboxStripe): Promise<Stripe.Checkout.Session> {
  return sdkFor(sandbox).checkout.sessions.create({
    mode: 'payment',
    line_items: [
      {
        quantity: 1,
        price_data: { currency: 'usd', unit_amount: 1_050, product_data: { name: 'Crédit API ☂' } },
      },
    ],
    metadata: { top_up_id: 'tu_1', note: 'ünïcode ☂' },
    success_url: 'http://127.0.0.1:1/done',
  });
}

const until = (condition: () => boolean, what: string): Promise<void> => eventually(what, condition);

beforeEach(async () => {
  receiver = await WebhookReceiver.start();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((sandbox) => sandbox.close()));
  await receiver.close();
});

describe('delivery', () => {
  it('signs every event so that the SDK verifies it, also with text beyond ASCII', async () => {
    const sandbox = await start();
    const session = await openSession(sandbox);
    await sandbox.control.pay(session.id);
    await sandbox.control.whenDelivered();
    expect(receiver.types().sort()).toEqual([...PAYMENT_EVENTS].sort());
    expect(receiver.received.every(({ verified }) => verified)).toBe(true);
    const completed = receiver.received.find(({ event }) => event.type === 'checkout.session.completed');
    expect(completed?.userAgent).toContain('Stripe/1.0');
    expect(completed?.event).toMatchObject({
      api_version: '2026-10-28.endive',
      livemode: false,
      data: { object: { id: session.id, payment_status: 'paid', metadata: { note: 'ünïcode ☂' } } },
    });
    const pending = await sdkFor(sandbox).events.retrieve(completed?.event.id ?? '');
    expect(pending.pending_webhooks).toBe(0);
  });

  it('tries again after errors, redirects and silence until it gets a 2xx, and then stops', async () => {
    const clock = new TestClock();
    const sandbox = await start({ clock });
    const statuses = [500, 302, 404, 200];
    receiver.answer = (attempt) => statuses[attempt - 1] ?? 200;
    await sdkFor(sandbox).customers.create({ name: 'Ada' });
    await sandbox.control.whenDelivered();
    expect(receiver.types()).toEqual(Array.from({ length: 4 }, () => 'customer.created'));
    expect(new Set(receiver.received.map(({ event }) => event.id)).size).toBe(1);
    expect(sandbox.control.deliveries()).toMatchObject([
      { state: 'delivered', attempts: 4, lastStatus: 200 },
    ]);
    // However late the next event comes, it is sent alone.
    clock.letPass(3_600_000);
    await sdkFor(sandbox).customers.create({ name: 'Grace' });
    await sandbox.control.whenDelivered();
    const [next, ...others] = receiver.received.slice(4);
    expect(next?.event.data.object).toMatchObject({ object: 'customer', name: 'Grace' });
    expect(others).toEqual([]);
  });

  it('keeps delivering other events while one answer hangs', async () => {
    const sandbox = await start();
    receiver.answer = (attempt) => (attempt === 1 ? 'hang' : 200);
    await sdkFor(sandbox).customers.create({ name: 'Ada' });
    await until(() => receiver.received.length === 1, 'the first attempt');
    await sdkFor(sandbox).customers.create({ name: 'Grace' });
    await until(() => receiver.received.length === 2, 'the second event');
  });

  it('sends to an endpoint registered through the API only the types it asked for', async () => {
    const sandbox = await startSandboxStripe({ webhookRetryDelayMs: 20 });
    open.push(sandbox);
    const sdk = sdkFor(sandbox);
    const endpoint = await sdk.webhookEndpoints.create({
      url: receiver.url,
      enabled_events: ['checkout.session.completed'],
      api_version: '2026-10-28.endive',
    });
    expect(endpoint.secret).toMatch(/^whsec_/);
    expect(await sdk.webhookEndpoints.retrieve(endpoint.id)).not.toHaveProperty('secret');
    await sandbox.control.pay((await openSession(sandbox)).id);
    await sandbox.control.whenDelivered();
    expect(receiver.types()).toEqual(['checkout.session.completed']);
  });

  it('refuses endpoints off this machine and event types that do not exist', async () => {
    const sdk = sdkFor(await start());
    const create = (url: string, type: string) =>
      sdk.webhookEndpoints.create({ url, enabled_events: [type as '*'] }).catch((error: unknown) => error);
    expect(await create('https://example.com/hook', '*')).toMatchObject({ statusCode: 400, param: 'url' });
    expect(await create('http://127.0.0.1.example.com/hook', '*')).toMatchObject({
      statusCode: 400,
      param: 'url',
    });
    expect(await create(receiver.url, 'checkout.sesion.completed')).toMatchObject({
      statusCode: 400,
      param: 'enabled_events[0]',
    });
  });
});

describe('faults on demand', () => {
  it('duplicates every delivery', async () => {
    const sandbox = await start();
    sandbox.control.setWebhookFaults({ copies: 3 });
    await sandbox.control.pay((await openSession(sandbox)).id);
    await sandbox.control.whenDelivered();
    expect(receiver.received).toHaveLength(3 * PAYMENT_EVENTS.length);
    expect(new Set(receiver.received.map(({ event }) => event.id)).size).toBe(PAYMENT_EVENTS.length);
  });

  it('delivers in the reverse order', async () => {
    const sandbox = await start();
    sandbox.control.setWebhookFaults({ reorder: true });
    await sandbox.control.pay((await openSession(sandbox)).id);
    await sandbox.control.whenDelivered();
    expect(receiver.types()).toEqual(PAYMENT_EVENTS.toReversed());
  });

  it('delays, drops and then delivers', async () => {
    const sandbox = await start();
    sandbox.control.setWebhookFaults({ delayMs: 150, dropNextAttempts: 2 });
    const startedMs = Date.now();
    await sdkFor(sandbox).customers.create({ name: 'Ada' });
    await sandbox.control.whenDelivered();
    expect(Date.now() - startedMs).toBeGreaterThanOrEqual(150);
    expect(receiver.received).toHaveLength(1);
    expect(sandbox.control.deliveries()).toMatchObject([{ attempts: 3, state: 'delivered' }]);
  });

  it('loses an event, which the events list still shows as not delivered', async () => {
    const sandbox = await start();
    sandbox.control.setWebhookFaults({ loseEvents: true });
    const session = await openSession(sandbox);
    await sandbox.control.pay(session.id);
    await sandbox.control.whenDelivered();
    expect(receiver.received).toEqual([]);
    const sdk = sdkFor(sandbox);
    const lost = await sdk.events.list({ type: 'checkout.session.completed', delivery_success: false });
    expect(lost.data.map(({ data }) => (data.object as { id: string }).id)).toEqual([session.id]);
    sandbox.control.clearFaults();
    await sdk.customers.create({ name: 'Ada' });
    await sandbox.control.whenDelivered();
    const delivered = await sdk.events.list({ delivery_success: true });
    expect(delivered.data.map(({ type }) => type)).toEqual(['customer.created']);
  });

  it('sends an event again, and forges one with another secret', async () => {
    const sandbox = await start();
    await sdkFor(sandbox).customers.create({ name: 'Ada' });
    await sandbox.control.whenDelivered();
    const [event] = sandbox.control.events('customer.created');
    expect(await sandbox.control.sendEvent(event?.id ?? '', { times: 2 })).toEqual([200, 200]);
    await sandbox.control.sendEvent(event?.id ?? '', { secret: 'whsec_forged' });
    expect(receiver.received.map(({ verified }) => verified)).toEqual([true, true, true, false]);
  });

  it('emits well-signed events that lie, and can make the API answer with the same lie', async () => {
    const sandbox = await start();
    const session = await openSession(sandbox);
    await sandbox.control.pay(session.id);
    const [completed] = sandbox.control.events('checkout.session.completed');
    await sandbox.control.emitTamperedEvent(completed?.id ?? '', {
      event: { livemode: true },
      object: { amount_total: 1, currency: 'eur' },
    });
    await sandbox.control.whenDelivered();
    const lie = receiver.received.at(-1);
    expect(lie).toMatchObject({
      verified: true,
      event: { livemode: true, data: { object: { amount_total: 1, currency: 'eur' } } },
    });
    expect(lie?.event.id).not.toBe(completed?.id);
    const sdk = sdkFor(sandbox);
    expect(await sdk.checkout.sessions.retrieve(session.id)).toMatchObject({ amount_total: 1_050 });
    await sandbox.control.overrideCheckoutSession(session.id, { amount_total: 1 });
    expect(await sdk.checkout.sessions.retrieve(session.id)).toMatchObject({ amount_total: 1 });
  });

  it('offers the same over HTTP, and refuses controls it does not know', async () => {
    const sandbox = await start();
    const control = async (method: string, path: string, body?: unknown) => {
      const response = await fetch(`${sandbox.baseUrl}/_sandbox/${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      return { status: response.status, body: (await response.json()) as Json };
    };
    expect((await control('POST', 'webhook_faults', { copies: 2 })).status).toBe(200);
    await sdkFor(sandbox).customers.create({ name: 'Ada' });
    await sandbox.control.whenDelivered();
    expect(receiver.received).toHaveLength(2);
    expect((await control('DELETE', 'faults')).status).toBe(200);

    const eventId = sandbox.control.events()[0]?.id ?? '';
    expect(await control('POST', `events/${eventId}/send`)).toMatchObject({
      status: 200,
      body: { statuses: [200] },
    });
    expect(await control('POST', `events/${eventId}/tamper`, { object: { name: 'Eve' } })).toMatchObject({
      status: 200,
    });
    expect(await control('POST', 'events/evt_nobody/send')).toMatchObject({ status: 404 });

    expect(
      (await control('POST', 'request_faults', { status: 500, path_prefix: '/v1/customers' })).status,
    ).toBe(200);
    await expect(sdkFor(sandbox).customers.create({})).rejects.toMatchObject({ statusCode: 500 });

    const { id } = await openSession(sandbox);
    expect(
      await control('POST', `checkout_sessions/${id}/override`, { object: { currency: 'eur' } }),
    ).toMatchObject({
      body: { currency: 'eur' },
    });
    expect(await control('POST', `checkout_sessions/${id}/expire`)).toMatchObject({
      body: { status: 'expired' },
    });
    expect(((await control('GET', 'deliveries')).body['data'] as unknown[]).length).toBeGreaterThan(0);

    expect(await control('POST', 'webhook_faults', { copiess: 2 })).toMatchObject({ status: 400 });
    expect(await control('POST', 'webhook_faults', { copies: '2' })).toMatchObject({ status: 400 });
    const elsewhere = { url: 'https://example.com', secret: WEBHOOK_SECRET };
    expect(await control('POST', 'webhook_endpoint', elsewhere)).toMatchObject({ status: 400 });
  });
});
