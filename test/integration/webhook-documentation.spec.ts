import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { systemClock } from '../../src/platform/common/clock.js';
import { newId } from '../../src/platform/common/ids.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { WEBHOOK_EVENT_TYPES } from '../../src/notifications/event-types.js';
import { WebhookEventsService } from '../../src/notifications/webhooks/webhook-events.service.js';
import { renderOpenApiFile } from '../../src/bootstrap/openapi/openapi-file.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { AutoTopUpSwitchService } from '../../src/payments/auto-top-ups/auto-top-up-switch.service.js';
import type { AutoTopUp } from '../../src/payments/auto-top-ups/auto-top-up.js';
import { RefundRepository } from '../../src/payments/refunds/refund.repository.js';
import type { PublishedStatus } from '../../src/payments/refunds/refund.machine.js';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { eventually } from '../support/processes.js';
import { publishedTo, type PublishedEvent } from '../support/webhooks/published-events.js';
import { customerWithCard, switchOn } from '../support/payments/auto-top-up.js';
import { ReturnHistory } from '../support/payments/return-history.js';
import type { Step } from '../support/payments/return-histories.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { settled, startTopUp, type OpenTopUp } from '../fixtures/top-up-books.js';

type Schema = Readonly<Record<string, unknown>>;
type Media = { readonly schema: Schema; readonly example: { readonly data: Schema; readonly type: string } };
type Operation = {
  readonly operationId: string;
  readonly requestBody: { readonly content: { readonly 'application/json': Media } };
};
type Document = {
  readonly webhooks: Readonly<Record<string, { readonly post: Operation }>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
};

let document: Document;
let app: TestApp;
let control: SandboxStripeControl;
const published = new Map<string, PublishedEvent>();

beforeAll(async () => {
  document = JSON.parse(await renderOpenApiFile()) as Document;
  app = await startTestApp({ stripe: true, settings: { rateLimit: false } });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  await publishEverything();
}, 60_000);
afterAll(() => app.close());

describe('the webhooks of openapi.json', () => {
  it('are every event that an endpoint can ask for, and the test event, each under a name of its own', () => {
    expect(Object.keys(document.webhooks).sort()).toEqual([...WEBHOOK_EVENT_TYPES, 'webhook.test'].sort());
    const names = Object.values(document.webhooks).map(({ post }) => post.operationId);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !/^on[A-Z][A-Za-z]+$/.test(name))).toEqual([]);
  });

  it.each([...WEBHOOK_EVENT_TYPES, 'webhook.test'])(
    'have an example of %s that is true to its schema',
    (type) => {
      const { schema, example } = mediaOf(type);
      expect(faultsOf(schema, example)).toEqual([]);
      expect(example.type).toBe(type);
    },
  );

  it.each([...WEBHOOK_EVENT_TYPES])('describe %s as it is really published, member by member', (type) => {
    const event = published.get(type);
    expect(event?.type).toBe(type);
    expect(faultsOf(mediaOf(type).schema, event)).toEqual([]);
    // Nothing is published that is not described, nor described that is not published.
    expect(Object.keys(event?.data ?? {}).sort()).toEqual(Object.keys(mediaOf(type).example.data).sort());
  });

  it('are compared in earnest: a member of another type is noticed', () => {
    const event = published.get('refund.created');
    const wrong = { ...event, data: { ...event?.data, amount_cents: 'much' } };
    expect(faultsOf(mediaOf('refund.created').schema, wrong)).toHaveLength(1);
  });
});

function mediaOf(type: string): Media {
  const media = document.webhooks[type]?.post.requestBody.content['application/json'];
  if (media === undefined) throw new Error(`${type} is not described`);
  return media;
}

function faultsOf(schema: Schema, value: unknown): string[] {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  const validate = ajv.compile({ ...schema, components: document.components });
  return validate(value) ? [] : (validate.errors ?? []).map((one) => `${one.instancePath} ${one.message}`);
}

/** Every event once, by the very code that publishes it. */
async function publishEverything(): Promise<void> {
  const refunded = await paid();
  await play(refunded, [['refund', 500], ['refund_fails']]);
  await play(await paid(), [
    ['dispute', 'needs_response'],
    ['becomes', 'under_review'],
    ['becomes', 'won'],
  ]);
  const { accountId, client } = refunded.customer;
  (await client.send('PUT', '/v1/wallet/alerts', { body: { low_balance_micros: '9000000' } })).expect(200);
  await play(refunded, [
    ['spend', 900],
    ['spend', 100],
  ]);
  (await app.operator.post(`/v1/accounts/${accountId}/freeze`, { reason: 'test' })).expect(200);
  const rarer = await paid();
  await play(rarer, [['refund', 100]]);
  for (const status of ['pending', 'refused', 'needs_review'] as const) await publishRefund(rarer, status);
  const failed = await startTopUp(app);
  await moveTopUp(failed);
  await publishAutoTopUp(failed);
  const raised = await customerWithCard(app);
  await switchOn(raised);
  await switchOn(raised, { daily_max_count: 4 });
  await collect(raised.accountId);
  await eventually('everything is published', async () => {
    for (const { customer } of [refunded, rarer, failed]) await collect(customer.accountId);
    return published.has('wallet.frozen') && published.has('wallet.low') && published.has('wallet.depleted');
  });
}

async function paid(): Promise<OpenTopUp> {
  const topUp = await startTopUp(app);
  await control.pay(topUp.sessionId);
  await settled(app);
  return topUp;
}

async function play(topUp: OpenTopUp, steps: readonly Step[]): Promise<void> {
  const history = new ReturnHistory(app, control, topUp);
  for (const step of steps) await history.take(step);
  await collect(topUp.customer.accountId);
}

async function collect(accountId: string): Promise<void> {
  for (const event of await publishedTo(app, accountId)) published.set(event.type, event);
}

/** Another refund, which goes another way. */
async function publishRefund({ id, customer }: OpenTopUp, status: PublishedStatus): Promise<void> {
  const refunds = app.app.get(RefundRepository);
  const topUp = await app.app.get(TopUpRepository).find(customer.accountId, id);
  const [first] = topUp === null ? [] : await refunds.findByTopUp(topUp);
  if (topUp === null || first === undefined) throw new Error('there is no refund');
  const made = await refunds.insert(topUp, () => ({
    ...first,
    id: newId('refund'),
    status: 'created',
    stripeRefundId: null,
    submittedAt: null,
    idempotencyKey: null,
  }));
  if (made === null || made === 'taken') throw new Error('the refund was not made');
  const stripeRefundId = status === 'refused' ? null : `re_of_${status}`;
  await refunds.move(made, status, { failureCode: 'insufficient_credits', stripeRefundId });
}

async function moveTopUp({ id, customer }: OpenTopUp): Promise<void> {
  const topUps = app.app.get(TopUpRepository);
  const topUp = await topUps.find(customer.accountId, id);
  if (topUp === null) throw new Error('there is no top-up');
  await topUps.move(topUp, 'failed', { failureCode: 'payment_failed' });
}

/** Of an account that never switched it on: only what is published counts here. */
async function publishAutoTopUp({ id, customer }: OpenTopUp): Promise<void> {
  const topUp = await app.app.get(TopUpRepository).find(customer.accountId, id);
  if (topUp === null) throw new Error('there is no top-up');
  const current = {
    accountId: customer.accountId,
    livemode: false,
    status: 'on',
    offReason: null,
    revision: 1,
  };
  const auto = new AutoTopUpSwitchService(
    systemClock,
    { update: () => Promise.resolve() } as never,
    { add: () => Promise.resolve() } as never,
    app.app.get(WebhookEventsService, { strict: false }),
    { setTopUpThreshold: () => Promise.resolve() } as never,
  );
  await app.app.get(TransactionRunner).run(async (tx) => {
    await auto.reportFailure(tx, current as AutoTopUp, { topUp, actionUrl: null, retryAt: null });
    await auto.turnOff(tx, current as AutoTopUp, 'payments_failed', topUp);
  });
}
