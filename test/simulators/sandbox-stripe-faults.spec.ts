import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { refusalOf, stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { controlRoute, payTopUp, saveCard, until } from '../support/payments/sandbox-stripe-money.js';
import { WEBHOOK_SECRET, WebhookReceiver } from '../support/webhooks/webhook-receiver.js';

let receiver: WebhookReceiver;
let folder: string;
const open: SandboxStripe[] = [];

async function start(stateFile?: string): Promise<SandboxStripe> {
  const sandbox = await startSandboxStripe({
    webhookEndpoint: { url: receiver.url, secret: WEBHOOK_SECRET },
    webhookRetryDelayMs: 20,
    ...(stateFile === undefined ? {} : { stateFile }),
  });
  open.push(sandbox);
  return sandbox;
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

describe('stripe-should-retry', () => {
  it('makes the SDK retry what it would not, and give up where it would retry', async () => {
    const sandbox = await start();
    const stripe = stripeSdkFor(sandbox.baseUrl, 2);
    const fault = { method: 'POST', path_prefix: '/v1/customers' };
    await controlRoute(sandbox, 'request_faults', { ...fault, status: 429, should_retry: true, times: 2 });
    expect(await stripe.customers.create({ name: 'Ada' })).toMatchObject({ name: 'Ada' });

    await controlRoute(sandbox, 'request_faults', { ...fault, status: 500, should_retry: false });
    const refused = await refusalOf(stripe.customers.create({ name: 'Grace' }));
    expect(refused.statusCode).toBe(500);
    expect(refused.headers).toMatchObject({ 'stripe-should-retry': 'false' });
    expect((await stripe.customers.list()).data.map(({ name }) => name)).toEqual(['Ada']);
    expect(await controlRoute(sandbox, 'request_faults', { should_retry: 'yes' })).toMatchObject({
      status: 400,
    });
  });
});

describe('delivery faults for some types of events', () => {
  it('lose, repeat or delay only those, and leave the others alone', async () => {
    const sandbox = await start();
    const stripe = stripeSdkFor(sandbox.baseUrl);
    const { charge } = await payTopUp(sandbox, stripe);
    await sandbox.control.whenDelivered();
    const before = receiver.received.length;
    await controlRoute(sandbox, 'webhook_faults', { lose_events: true, only_types: ['refund.created'] });
    const refund = await stripe.refunds.create({ charge: charge.id, amount: 5 });
    await sandbox.control.whenDelivered();
    expect(receiver.types().slice(before)).toEqual(['charge.refunded']);
    const lost = await stripe.events.list({ types: ['refund.created'], delivery_success: false });
    expect(lost.data.map(({ data }) => (data.object as { id: string }).id)).toEqual([refund.id]);
    expect(await sandbox.control.sendEvent(lost.data[0]?.id ?? '')).toEqual([200]);

    sandbox.control.clearFaults();
    sandbox.control.setWebhookFaults({ copies: 10, onlyTypes: ['refund.failed'] });
    await sandbox.control.failRefund(refund.id);
    await sandbox.control.whenDelivered();
    const delivered = receiver.types().slice(before + 2);
    expect(delivered.filter((type) => type === 'refund.failed')).toHaveLength(10);
    expect(delivered.filter((type) => type === 'refund.updated')).toHaveLength(1);
  });

  it('deliver the end of a dispute before its beginning', async () => {
    const sandbox = await start();
    const { charge } = await payTopUp(sandbox, stripeSdkFor(sandbox.baseUrl));
    await sandbox.control.whenDelivered();
    const before = receiver.received.length;
    sandbox.control.setWebhookFaults({ reorder: true });
    await sandbox.control.createDispute({ charge: charge.id, status: 'won' });
    await sandbox.control.whenDelivered();
    const delivered = receiver
      .types()
      .slice(before)
      .filter((type) => type !== 'charge.updated');
    expect(delivered).toEqual([
      'charge.dispute.closed',
      'charge.dispute.funds_reinstated',
      'charge.dispute.updated',
      'charge.dispute.funds_withdrawn',
      'charge.dispute.created',
    ]);
    expect(receiver.received.every(({ verified }) => verified)).toBe(true);
  });
});

describe('a restart', () => {
  it('forgets nothing that happened to the money, and still does what was going to happen', async () => {
    const stateFile = join(folder, 'stripe.json');
    const first = await start(stateFile);
    const stripe = stripeSdkFor(first.baseUrl);
    const { customerId, paymentMethodId } = await saveCard(first, stripe, '4000002500003155');
    const { charge } = await payTopUp(first, stripe, '4000000000005126');
    const refund = await stripe.refunds.create({ charge: charge.id }, { idempotencyKey: 'refund:1' });
    const disputed = await payTopUp(first, stripe);
    const dispute = await first.control.createDispute({ charge: disputed.charge.id });
    const warning = await first.control.warnOfFraud(disputed.intent.id, 'misc');
    const payout = await first.control.payOut();
    await first.close();

    const second = await start(stateFile);
    const again = stripeSdkFor(second.baseUrl);
    expect(await again.refunds.create({ charge: charge.id }, { idempotencyKey: 'refund:1' })).toMatchObject({
      id: refund.id,
    });
    const failed = await until('the refund to fail', async () => {
      const now = await again.refunds.retrieve(refund.id);
      return now.status === 'failed' ? now : null;
    });
    expect(failed.failure_reason).toBe('expired_or_canceled_card');
    expect(await again.disputes.retrieve(dispute.id)).toMatchObject({
      status: 'needs_response',
      amount: 1_050,
    });
    expect(await again.radar.earlyFraudWarnings.retrieve(warning.id)).toMatchObject({ fraud_type: 'misc' });
    expect((await again.balanceTransactions.list({ payout: payout.id })).data).not.toEqual([]);
    const params = { amount: 500, currency: 'usd', customer: customerId, payment_method: paymentMethodId };
    expect(await again.paymentIntents.create({ ...params, off_session: true, confirm: true })).toMatchObject({
      status: 'succeeded',
    });
    await second.control.whenDelivered();
    const delivered = receiver.received.filter(({ event }) => event.type === 'refund.failed');
    expect(delivered.map(({ event }) => (event.data.object as { id: string }).id)).toEqual([refund.id]);
  });

  it('reads a state file from before refunds and cards were kept, and refunds what was charged then', async () => {
    const stateFile = join(folder, 'stripe.json');
    const first = await start(stateFile);
    const { charge } = await payTopUp(first, stripeSdkFor(first.baseUrl));
    await first.close();
    const state = JSON.parse(await readFile(stateFile, 'utf8')) as Record<string, unknown>;
    for (const table of [
      'disputes',
      'earlyFraudWarnings',
      'paymentMethods',
      'payouts',
      'plannedOutcomes',
      'refunds',
    ]) {
      expect(state).toHaveProperty(table);
      delete state[table];
    }
    await writeFile(stateFile, JSON.stringify(state));

    const second = await start(stateFile);
    const stripe = stripeSdkFor(second.baseUrl);
    expect(await stripe.refunds.create({ charge: charge.id, amount: 50 })).toMatchObject({
      status: 'succeeded',
    });
    expect(await second.control.createDispute({ charge: charge.id })).toMatchObject({ amount: 1_000 });
  });
});
