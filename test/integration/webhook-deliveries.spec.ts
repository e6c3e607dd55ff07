import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { RETRY_DELAYS_MS } from '../../src/notifications/webhooks/delivery-rules.js';
import { WebhookRetentionJob } from '../../src/notifications/webhooks/webhook-retention.job.js';
import { isGenuine, type ReceivedEvent } from '../support/webhooks/event-receiver.js';
import {
  attempt,
  createEndpoint,
  deliveriesTo,
  queuedAt,
  type DeliveryRow,
} from '../support/webhooks/webhook-deliveries.js';
import { DAY_MS, ENDPOINTS, HOUR_MS, isSignedBy, WebhookStage } from '../support/webhooks/webhook-stage.js';

let stage: WebhookStage;

beforeAll(async () => {
  stage = await WebhookStage.open();
});
beforeEach(() => stage.begin());
afterEach(() => stage.end());
afterAll(() => stage.close());

describe('a published event', () => {
  it('is received whole, signed so that the public library accepts it, and logged', async () => {
    await stage.events.publish(
      null,
      stage.topUpSucceeded('tu_1', { id: 'tu_1', credit_micros: '10000000', note: 'ü€🪙' }),
    );
    const delivery = await stage.onlyDelivery();
    await attempt(stage.app, delivery);
    const [received] = stage.receiver.received;
    if (received === undefined) throw new Error('nothing came');
    expect(isGenuine(received, stage.endpoint.secret)).toBe(true);
    expect(isGenuine({ ...received, body: `${received.body} ` }, stage.endpoint.secret)).toBe(false);
    expect(isGenuine(received, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')).toBe(false);
    expect(JSON.parse(received.body)).toEqual({
      type: 'top_up.succeeded',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      data: { id: 'tu_1', credit_micros: '10000000', note: 'ü€🪙' },
    });
    expect(received.headers['content-type']).toBe('application/json');
    const log = (await stage.customer.client.get(`${ENDPOINTS}/${stage.endpoint.id}/deliveries`)).expect(
      200,
    ).body;
    expect(log.data).toEqual([
      {
        id: delivery.id,
        object: 'webhook_delivery',
        webhook_endpoint: stage.endpoint.id,
        event: received.id,
        type: 'top_up.succeeded',
        status: 'succeeded',
        attempts: 1,
        response_status: 204,
        error: null,
        last_attempt_at: expect.any(Number),
        next_attempt_at: null,
        created: expect.any(Number),
      },
    ]);
    expect(await queuedAt(stage.app, delivery.id)).toBeNull();
  });

  it('goes to every endpoint that asked for it, under one id, and to no other', async () => {
    const second = await createEndpoint(stage.customer, stage.receiver.url);
    const uninterested = await createEndpoint(stage.customer, stage.receiver.url, ['wallet.low']);
    const off = await createEndpoint(stage.customer, stage.receiver.url);
    (
      await stage.customer.client.send('PATCH', `${ENDPOINTS}/${off.id}`, { body: { enabled: false } })
    ).expect(200);
    await stage.events.publish(null, stage.topUpSucceeded());
    const rows = [await stage.onlyDelivery(), await stage.onlyDelivery(second)];
    for (const row of rows) await attempt(stage.app, row);
    expect(new Set(stage.receiver.received.map(({ id }) => id)).size).toBe(1);
    expect(stage.receiver.received.map((one) => isGenuine(one, stage.endpoint.secret))).toEqual([
      true,
      false,
    ]);
    expect(isGenuine(stage.receiver.received[1] as ReceivedEvent, second.secret)).toBe(true);
    expect([
      ...(await deliveriesTo(stage.app, uninterested)),
      ...(await deliveriesTo(stage.app, off)),
    ]).toEqual([]);
  });

  it('is one event by its natural key, however often, however concurrently and with whatever data', async () => {
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        stage.events.publish(null, stage.topUpSucceeded('tu_7', { try: index })),
      ),
    );
    await stage.events.publish(null, stage.topUpSucceeded('tu_7', { try: 'later' }));
    const delivery = await stage.onlyDelivery();
    // Another object, another type and another account are other events.
    await stage.events.publish(null, stage.topUpSucceeded('tu_8'));
    await stage.events.publish(null, { ...stage.topUpSucceeded('tu_7'), type: 'top_up.failed' });
    const stranger = await stage.app.createCustomer();
    const theirs = await createEndpoint(stranger, stage.receiver.url);
    await stage.events.publish(null, { ...stage.topUpSucceeded('tu_7'), accountId: stranger.accountId });
    expect(await deliveriesTo(stage.app, stage.endpoint)).toHaveLength(3);
    expect((await stage.onlyDelivery(theirs)).event_id).not.toBe(delivery.event_id);
    // Without a key every call is an event.
    await stage.events.publish(null, stage.topUpSucceeded());
    await stage.events.publish(null, stage.topUpSucceeded());
    expect(await deliveriesTo(stage.app, stage.endpoint)).toHaveLength(5);
  });

  it('exists if, and only if, the tx that it was published in commits', async () => {
    const transactions = stage.app.app.get(TransactionRunner, { strict: false });
    const work = transactions.run(async (tx) => {
      await stage.events.publish(tx, stage.topUpSucceeded('tu_9'));
      throw new Error('the top-up was not written after all');
    });
    await expect(work).rejects.toThrow('not written');
    expect(await deliveriesTo(stage.app, stage.endpoint)).toEqual([]);
    await transactions.run((tx) => stage.events.publish(tx, stage.topUpSucceeded('tu_9')));
    const { id } = await stage.onlyDelivery();
    expect(await queuedAt(stage.app, id)).not.toBeNull();
  });

  it('is at most 20 kB; a larger one is a fault of ours and nothing of it is stored', async () => {
    const large = stage.topUpSucceeded(undefined, { text: 'x'.repeat(20_000) });
    await expect(stage.events.publish(null, large)).rejects.toThrow(RangeError);
    expect(await deliveriesTo(stage.app, stage.endpoint)).toEqual([]);
  });
});

describe('a receiver that fails', () => {
  it('is tried ten times over three days, by the schedule, with the same id and body, then given up', async () => {
    stage.receiver.answer = () => ({ status: 500 });
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    const waits: number[] = [];
    for (let count = 0; count < 10; count += 1) waits.push(await stage.nextAttempt(delivery));
    for (const [index, delayMs] of RETRY_DELAYS_MS.entries()) {
      const waitedMs = waits[index + 1] ?? 0;
      expect({ index, inTime: waitedMs > delayMs - 1_000 && waitedMs <= delayMs * 1.1 + 1 }).toEqual({
        index,
        inTime: true,
      });
    }
    expect(stage.receiver.received).toHaveLength(10);
    expect(new Set(stage.receiver.received.map(({ id, body }) => `${id} ${body}`)).size).toBe(1);
    expect(stage.receiver.received.every((one) => isSignedBy(one, stage.endpoint.secret))).toBe(true);
    expect(await stage.onlyDelivery()).toMatchObject({
      status: 'failed',
      attempts: 10,
      response_status: 500,
    });
    expect(await queuedAt(stage.app, delivery.id)).toBeNull();
    expect(await stage.shown()).toMatchObject({ enabled: true, failing_since: expect.any(Number) });
  });

  it('is tried until it succeeds, and its record is clean again', async () => {
    stage.receiver.answer = (count) => ({ status: count < 3 ? 503 : 200 });
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    for (let count = 0; count < 2; count += 1) await stage.nextAttempt(delivery);
    expect(await stage.shown()).toMatchObject({ failing_since: expect.any(Number) });
    await stage.nextAttempt(delivery);
    expect(await stage.onlyDelivery()).toMatchObject({
      status: 'succeeded',
      attempts: 3,
      response_status: 200,
    });
    expect(await stage.shown()).toMatchObject({ failing_since: null });
  });

  it('is waited for as long as it asks', async () => {
    stage.receiver.answer = () => ({ status: 429, headers: { 'retry-after': '7200' } });
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    await attempt(stage.app, delivery);
    const waitMs = ((await queuedAt(stage.app, delivery.id)) ?? 0) - stage.nowMs();
    expect(waitMs).toBe(2 * HOUR_MS);
  });

  it('gets nothing more after its 410: what waits is canceled, what happens later is not queued', async () => {
    stage.receiver.answer = () => ({ status: 500 });
    await stage.events.publish(null, stage.topUpSucceeded('first'));
    const waiting = await stage.onlyDelivery();
    await attempt(stage.app, waiting);
    stage.receiver.answer = () => ({ status: 410 });
    await stage.events.publish(null, stage.topUpSucceeded('second'));
    const [, second] = await deliveriesTo(stage.app, stage.endpoint);
    await attempt(stage.app, second as DeliveryRow);
    expect(await stage.shown()).toMatchObject({ enabled: false, disabled_reason: 'gone' });
    expect((await deliveriesTo(stage.app, stage.endpoint)).map(({ status }) => status)).toEqual([
      'canceled',
      'failed',
    ]);
    await attempt(stage.app, waiting);
    await stage.events.publish(null, stage.topUpSucceeded('third'));
    expect(await deliveriesTo(stage.app, stage.endpoint)).toHaveLength(2);
    expect(stage.receiver.received).toHaveLength(2);
    const again = await stage.customer.client.post(
      `${ENDPOINTS}/${stage.endpoint.id}/deliveries/${waiting.id}/redeliver`,
    );
    expect(again.expect(409).body.error).toMatchObject({ code: 'webhook_endpoint_disabled' });
  });

  it('is disabled when nothing succeeded for five days, which it shows; enabled, it starts again', async () => {
    stage.receiver.answer = () => 'cut';
    for (let day = 0; day <= 5; day += 1) {
      expect(await stage.shown()).toMatchObject({ enabled: true });
      stage.clock.aheadMs = day * DAY_MS;
      await stage.events.publish(null, stage.topUpSucceeded(`day ${day}`));
      const rows = await deliveriesTo(stage.app, stage.endpoint);
      await attempt(stage.app, rows.at(-1) as DeliveryRow);
    }
    expect(await stage.shown()).toMatchObject({
      enabled: false,
      disabled_reason: 'failing',
      failing_since: expect.any(Number),
    });
    const statuses = (await deliveriesTo(stage.app, stage.endpoint)).map(
      ({ status, error }) => `${status} ${error}`,
    );
    expect(new Set(statuses)).toEqual(new Set(['canceled connection_failed']));
    await stage.customer.client.send('PATCH', `${ENDPOINTS}/${stage.endpoint.id}`, {
      body: { enabled: true },
    });
    expect(await stage.shown()).toMatchObject({ enabled: true, failing_since: null });
  });

  it('is not asked again by a job that is left over from before it was switched off or deleted', async () => {
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    (await stage.customer.client.delete(`${ENDPOINTS}/${stage.endpoint.id}`)).expect(200);
    await attempt(stage.app, delivery);
    expect(stage.receiver.received).toEqual([]);
    expect(await stage.onlyDelivery()).toMatchObject({ status: 'canceled', attempts: 0 });
  });
});

describe('two attempts of one delivery at the same time', () => {
  /** Answers none before both have arrived, so that they overlap however busy the machine is. */
  function answerBoth(first: number, second: number): void {
    let bothArrived = (): void => undefined;
    const both = new Promise<void>((resolve) => (bothArrived = resolve));
    stage.receiver.answer = async (count) => {
      if (count === 2) bothArrived();
      await both;
      return { status: count === 1 ? first : second };
    };
  }

  it('leave one outcome and one next attempt when both fail', async () => {
    answerBoth(500, 500);
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    await Promise.all([attempt(stage.app, delivery), attempt(stage.app, delivery)]);
    expect(await stage.onlyDelivery()).toMatchObject({ status: 'pending', attempts: 1 });
    expect(await queuedAt(stage.app, delivery.id)).not.toBeNull();
  });

  it('leave a success when one succeeds, whichever is noted first', async () => {
    answerBoth(200, 500);
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    await Promise.all([attempt(stage.app, delivery), attempt(stage.app, delivery)]);
    expect((await stage.onlyDelivery()).status).toBe('succeeded');
  });
});

describe('a test event', () => {
  it('reaches the endpoint although it did not ask for it, and is in the log', async () => {
    const test = (await stage.customer.client.post(`${ENDPOINTS}/${stage.endpoint.id}/test`)).expect(
      201,
    ).body;
    expect(test).toMatchObject({
      object: 'webhook_delivery',
      type: 'webhook.test',
      status: 'pending',
      attempts: 0,
    });
    await attempt(stage.app, await stage.onlyDelivery());
    const [received] = stage.receiver.received as [ReceivedEvent];
    expect(isGenuine(received, stage.endpoint.secret)).toBe(true);
    expect(JSON.parse(received.body)).toMatchObject({
      type: 'webhook.test',
      data: { webhook_endpoint: stage.endpoint.id },
    });
  });
});

describe('what is old', () => {
  it('is forgotten after 90 days, and what still waits is not', async () => {
    await stage.events.publish(null, stage.topUpSucceeded('done'));
    await attempt(stage.app, await stage.onlyDelivery());
    await stage.events.publish(null, stage.topUpSucceeded('waiting'));
    const retention = stage.app.app.get(WebhookRetentionJob, { strict: false });
    stage.clock.aheadMs = 89 * DAY_MS;
    await retention.run();
    expect(await deliveriesTo(stage.app, stage.endpoint)).toHaveLength(2);
    stage.clock.aheadMs = 91 * DAY_MS;
    await retention.run();
    expect(await deliveriesTo(stage.app, stage.endpoint)).toMatchObject([{ status: 'pending' }]);
    const bodies = await stage.app.dataSource.query<{ natural_key: string }[]>(
      'SELECT natural_key FROM webhook_events WHERE account_id = $1',
      [stage.customer.accountId],
    );
    expect(bodies).toEqual([{ natural_key: 'waiting' }]);
  });

  it('is never changed while it is kept: the database refuses it', async () => {
    await stage.events.publish(null, stage.topUpSucceeded());
    await expect(stage.app.dataSource.query(`UPDATE webhook_events SET body = '{}'`)).rejects.toThrow(
      'permission denied',
    );
    await expect(stage.app.dataSource.query('DELETE FROM webhook_endpoints')).rejects.toThrow(
      'permission denied',
    );
  });
});
