import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { EventReceiver, isGenuine, type ReceivedEvent } from '../support/webhooks/event-receiver.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import {
  attempt,
  createEndpoint,
  deliveriesTo,
  queuedAt,
  type DeliveryRow,
} from '../support/webhooks/webhook-deliveries.js';
import { DAY_MS, ENDPOINTS, isSignedBy, WebhookStage } from '../support/webhooks/webhook-stage.js';

let stage: WebhookStage;

beforeAll(async () => {
  stage = await WebhookStage.open();
});
beforeEach(() => stage.begin());
afterEach(() => stage.end());
afterAll(() => stage.close());

describe('a secret that is rotated', () => {
  it('goes on signing together with the new one for 24 hours, and not a moment longer', async () => {
    const dayFrom = (ms: number): number => Math.floor((ms + DAY_MS) / 1_000);
    const earliest = dayFrom(stage.nowMs());
    const rotated = (
      await stage.customer.client.post(`${ENDPOINTS}/${stage.endpoint.id}/rotate_secret`)
    ).expect(200).body;
    const secret = String(rotated.secret);
    // The clock goes on while the answer comes.
    expect(rotated.previous_secret_expires_at).toBeGreaterThanOrEqual(earliest);
    expect(rotated.previous_secret_expires_at).toBeLessThanOrEqual(dayFrom(stage.nowMs()));
    await stage.events.publish(null, stage.topUpSucceeded('now'));
    await attempt(stage.app, await stage.onlyDelivery());
    const [now] = stage.receiver.received as [ReceivedEvent];
    expect([stage.endpoint.secret, secret].map((each) => isGenuine(now, each))).toEqual([true, true]);
    expect(String(now.headers['webhook-signature'])).toMatch(/^v1,[^ ]+ v1,[^ ]+$/);

    stage.clock.aheadMs = DAY_MS - 60_000;
    await stage.events.publish(null, stage.topUpSucceeded('almost'));
    await attempt(stage.app, (await deliveriesTo(stage.app, stage.endpoint))[1] as DeliveryRow);
    expect(isSignedBy(stage.receiver.received[1] as ReceivedEvent, secret, stage.endpoint.secret)).toBe(true);

    stage.clock.aheadMs = DAY_MS + 1_000;
    await stage.events.publish(null, stage.topUpSucceeded('later'));
    await attempt(stage.app, (await deliveriesTo(stage.app, stage.endpoint))[2] as DeliveryRow);
    expect(isSignedBy(stage.receiver.received[2] as ReceivedEvent, secret)).toBe(true);
    expect(await stage.shown()).toMatchObject({ previous_secret_expires_at: null });
  });

  it('signs also what was published before: an attempt is signed when it is made', async () => {
    await stage.events.publish(null, stage.topUpSucceeded());
    const rotated = (
      await stage.customer.client.post(`${ENDPOINTS}/${stage.endpoint.id}/rotate_secret`)
    ).expect(200).body;
    await attempt(stage.app, await stage.onlyDelivery());
    expect(isGenuine(stage.receiver.received[0] as ReceivedEvent, String(rotated.secret))).toBe(true);
  });
});

describe('a redelivery', () => {
  const redeliver = ({ id }: DeliveryRow) =>
    stage.customer.client.post(`${ENDPOINTS}/${stage.endpoint.id}/deliveries/${id}/redeliver`);

  it('is the same event under the same webhook-id, whatever became of it before', async () => {
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    await attempt(stage.app, delivery);
    const answer = (await redeliver(delivery)).expect(200).body;
    expect(answer).toMatchObject({ id: delivery.id, status: 'pending', event: delivery.event_id });
    await attempt(stage.app, delivery);
    expect(stage.receiver.received.map(({ id }) => id)).toEqual([delivery.event_id, delivery.event_id]);
    expect(stage.receiver.received[1]?.body).toBe(stage.receiver.received[0]?.body);
    expect(await stage.onlyDelivery()).toMatchObject({ status: 'succeeded', attempts: 2 });
  });

  it('restarts the schedule for what was given up', async () => {
    stage.receiver.answer = () => ({ status: 500 });
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    for (let count = 0; count < 10; count += 1) await stage.nextAttempt(delivery);
    expect(await stage.onlyDelivery()).toMatchObject({ status: 'failed', attempts: 10 });
    (await redeliver(delivery)).expect(200);
    expect(await stage.nextAttempt(delivery)).toBeLessThan(1_000);
    const waitMs = ((await queuedAt(stage.app, delivery.id)) ?? 0) - stage.nowMs();
    expect(waitMs).toBeGreaterThan(4_000);
    expect(waitMs).toBeLessThan(6_000);
    expect(await stage.onlyDelivery()).toMatchObject({ status: 'pending', attempts: 11 });
  });

  it('takes the place of the attempt that waits: one job, at once', async () => {
    stage.receiver.answer = (count) => ({ status: count === 1 ? 500 : 200 });
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    await attempt(stage.app, delivery);
    (await redeliver(delivery)).expect(200);
    expect(await stage.nextAttempt(delivery)).toBeLessThan(1_000);
    expect(await queuedAt(stage.app, delivery.id)).toBeNull();
  });

  it('that is asked for while an attempt is on its way is not put off when that one fails', async () => {
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    stage.receiver.answer = async (count) => {
      stage.clock.letPass(1);
      if (count === 1) (await redeliver(delivery)).expect(200);
      return { status: 503, headers: { 'retry-after': '3600' } };
    };
    await attempt(stage.app, delivery);
    expect(((await queuedAt(stage.app, delivery.id)) ?? Infinity) - stage.nowMs()).toBeLessThan(1_000);
    expect(await stage.onlyDelivery()).toMatchObject({ status: 'pending' });
  });

  it('of an endpoint that asks for it a thousand times is still one delivery', async () => {
    await stage.events.publish(null, stage.topUpSucceeded());
    const delivery = await stage.onlyDelivery();
    await Promise.all(Array.from({ length: 30 }, () => redeliver(delivery)));
    await stage.onlyDelivery();
    expect(await queuedAt(stage.app, delivery.id)).not.toBeNull();
  });
});

describe('the workers', () => {
  let worker: TestApp;

  beforeEach(async () => {
    await stage.app.dataSource.query('DELETE FROM graphile_worker._private_jobs');
    worker = await startTestApp({
      databaseUrl: stage.app.databaseUrl,
      settings: { webhookLoopback: true, runJobs: true, masterKeys: stage.app.settings.masterKeys },
    });
  });
  afterEach(() => worker.close());

  it('deliver by themselves, and again five seconds after a failure', async () => {
    stage.receiver.answer = (count) => ({ status: count === 1 ? 500 : 200 });
    // Ahead of the database, so that the second attempt falls due when this test says so.
    worker.clock.stop();
    worker.clock.letPass(120_000);
    await stage.events.publish(null, stage.topUpSucceeded());
    await eventually('the first attempt is noted', async () => (await stage.onlyDelivery()).attempts === 1);
    const failed = await stage.onlyDelivery();
    const waitMs = ((await queuedAt(stage.app, failed.id)) ?? 0) - worker.clock.nowMs();
    expect(waitMs).toBeGreaterThan(4_000);
    expect(waitMs).toBeLessThan(6_000);
    await fallDue(failed);
    await eventually(
      'the delivery succeeded',
      async () => (await stage.onlyDelivery()).status === 'succeeded',
    );
    expect(stage.receiver.received).toHaveLength(2);
    expect(stage.receiver.received.every((one) => isGenuine(one, stage.endpoint.secret))).toBe(true);
    const { id } = await stage.onlyDelivery();
    await eventually('nothing is left to do', async () => (await queuedAt(stage.app, id)) === null);
  });

  it('are never kept busy by receivers that hang: their jobs end while the receivers still hang', async () => {
    const hanging = await EventReceiver.start();
    hanging.answer = () => 'hang';
    try {
      for (let count = 0; count < 8; count += 1)
        await createEndpoint(stage.customer, hanging.url, ['wallet.low']);
      await stage.events.publish(null, { ...stage.topUpSucceeded(), type: 'wallet.low' });
      await eventually('all of them hang', () => hanging.received.length === 8);
      await eventually('no worker waits for them', async () => (await busyWorkers()) === 0);
      // The workers are free for others, and none of them comes back to the hanging ones in the meantime.
      const other = await stage.app.createCustomer();
      await createEndpoint(other, stage.receiver.url);
      await stage.events.publish(null, { ...stage.topUpSucceeded(), accountId: other.accountId });
      await eventually('another event is delivered', () => stage.receiver.received.length === 1);
      await eventually('no worker is busy', async () => (await busyWorkers()) === 0);
      expect(hanging.received).toHaveLength(8);
      const [left] = await stage.app.dataSource.query<{ pending: number; queued: number }[]>(
        `SELECT count(*)::int AS pending, count(job.key)::int AS queued
           FROM webhook_deliveries delivery
           LEFT JOIN graphile_worker._private_jobs job
             ON job.key = 'webhook_delivery:' || delivery.id AND job.run_at > now() + interval '20 s'
          WHERE delivery.event_type = 'wallet.low' AND delivery.status = 'pending'`,
      );
      // Should this process die now, each is looked at again.
      expect(left).toEqual({ pending: 8, queued: 8 });
    } finally {
      await hanging.close();
    }
  });

  /** Its time has come, for the database. */
  async function fallDue({ id }: DeliveryRow): Promise<void> {
    await stage.app.dataSource.query(
      `UPDATE graphile_worker._private_jobs SET run_at = now() WHERE key = $1 AND run_at > now()`,
      [`webhook_delivery:${id}`],
    );
    // As graphile-worker announces a new job; else it would be found by the next poll.
    await stage.app.dataSource.query(`SELECT pg_notify('jobs:insert', '{"count":1}')`);
  }

  async function busyWorkers(): Promise<number> {
    const [row] = await stage.app.dataSource.query<{ busy: number }[]>(
      'SELECT count(*)::int AS busy FROM graphile_worker._private_jobs WHERE locked_at IS NOT NULL',
    );
    return row?.busy ?? NaN;
  }
});
