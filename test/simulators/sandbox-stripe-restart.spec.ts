import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import {
  startSandboxStripe,
  type SandboxStripe,
  type SandboxStripeOptions,
} from 'coffer-sandbox/stripe/server';
import { stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { WEBHOOK_SECRET, WebhookReceiver } from '../support/webhooks/webhook-receiver.js';

type SavedState = { checkoutSessions: { id: string; object: { payment_status: string } }[] };

const PAYMENT_EVENTS = [
  'payment_intent.created',
  'charge.succeeded',
  'payment_intent.succeeded',
  'checkout.session.completed',
];

let receiver: WebhookReceiver;
let folder: string;
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

beforeEach(async () => {
  receiver = await WebhookReceiver.start();
  folder = await mkdtemp(join(tmpdir(), 'sandbox-stripe-'));
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((sandbox) => sandbox.close()));
  await receiver.close();
  await rm(folder, { recursive: true });
});

describe('the state file', () => {
  it('knows sessions, payments, keys and events that are still to be delivered after a restart, and is readable by its owner only', async () => {
    const stateFile = join(folder, 'deep', 'stripe.json');
    const port = Number(new URL(receiver.url).port);
    await receiver.close();
    const first = await start({ stateFile });
    const paid = await openSession(first);
    const unpaid = await openSession(first);
    const customer = await sdkFor(first).customers.create({ name: 'Ada' }, { idempotencyKey: 'cus:1' });
    await first.control.pay(paid.id);
    expect((await stat(stateFile)).mode & 0o777).toBe(0o600);
    await first.close();
    // Also those whose attempts ran out, or whose next attempt is far away.
    const saved = await readFile(stateFile, 'utf8');
    const postponed = saved.replaceAll(
      /"nextAttemptAtMs":\d+/g,
      `"nextAttemptAtMs":${Date.now() + 3_600_000}`,
    );
    await writeFile(stateFile, postponed.replace('"state":"pending"', '"state":"failed"'));

    receiver = await WebhookReceiver.start(port);
    const second = await start({ stateFile });
    await second.control.whenDelivered();
    expect(receiver.types()).toEqual(expect.arrayContaining([...PAYMENT_EVENTS, 'customer.created']));
    const sdk = sdkFor(second);
    expect(await sdk.checkout.sessions.retrieve(paid.id)).toMatchObject({ payment_status: 'paid' });
    expect(await sdk.customers.create({ name: 'Ada' }, { idempotencyKey: 'cus:1' })).toMatchObject({
      id: customer.id,
    });
    const revived = await sdk.checkout.sessions.retrieve(unpaid.id);
    expect(revived.url).toBe(`${second.baseUrl}/c/pay/${unpaid.id}`);
    expect((await fetch(revived.url as string)).status).toBe(200);

    await second.close();
    const third = await start({ stateFile });
    await third.control.whenDelivered();
    // Nothing of it is sent once more: the next event comes alone.
    const before = receiver.received.length;
    await sdkFor(third).customers.create({ name: 'Grace' });
    await third.control.whenDelivered();
    const [next, ...others] = receiver.received.slice(before);
    expect(next?.event.data.object).toMatchObject({ object: 'customer', name: 'Grace' });
    expect(others).toEqual([]);
  });

  it('has a payment on disk before it is answered, however many are paid at once', async () => {
    const stateFile = join(folder, 'stripe.json');
    const sandbox = await start({ stateFile });
    const sessions = await Promise.all(Array.from({ length: 25 }, () => openSession(sandbox)));
    await Promise.all(
      sessions.map(async ({ id, url }) => {
        const answer = await fetch(`${url}/pay`, { method: 'POST', headers: { accept: 'application/json' } });
        expect(answer.status).toBe(200);
        const saved = JSON.parse(await readFile(stateFile, 'utf8')) as SavedState;
        const record = saved.checkoutSessions.find((row) => row.id === id);
        expect(record?.object.payment_status).toBe('paid');
      }),
    );
  });

  it('refuses to start on a file that is not its own, and leaves it as it is', async () => {
    for (const content of ['{"half":', '[]', '{"version":99}']) {
      const stateFile = join(folder, 'other.json');
      await writeFile(stateFile, content);
      await expect(startSandboxStripe({ stateFile })).rejects.toThrow('state file');
      expect(await readFile(stateFile, 'utf8')).toBe(content);
    }
  });
});
