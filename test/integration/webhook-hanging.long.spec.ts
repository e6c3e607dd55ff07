import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { WebhookEventsService } from '../../src/notifications/webhooks/webhook-events.service.js';
import { EventReceiver } from '../support/webhooks/event-receiver.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { createEndpoint, deliveriesTo, type TestEndpoint } from '../support/webhooks/webhook-deliveries.js';

/** What every endpoint of the account may be. */
const HANGING_ENDPOINTS = 10;
const EVENTS_TO_HANGING = 5;
/** Of others, while they hang; one right after the other. */
const EVENTS_TO_OTHERS = 15;
/** "A few seconds" on a machine that runs other tests at the same time. */
const DELAY_MAX_MS = 4_000;

let app: TestApp;
let events: WebhookEventsService;
let black: EventReceiver;
let good: EventReceiver;

beforeAll(async () => {
  app = await startTestApp({ settings: { webhookLoopback: true, runJobs: true, rateLimit: false } });
  events = app.app.get(WebhookEventsService, { strict: false });
  black = await EventReceiver.start();
  good = await EventReceiver.start();
  black.answer = () => 'hang';
});
afterAll(async () => {
  await Promise.all([black.close(), good.close()]);
  await app.close();
});

function publish({ accountId }: TestCustomer, id: string): Promise<void> {
  return events.publish(null, { accountId, type: 'top_up.succeeded', data: { id } });
}

describe('ten endpoints of one account that take every event and never answer', () => {
  it('delay the events of another account by no more than a few seconds, and are still given their 15 s', async () => {
    const hostile = await app.createCustomer();
    const hanging: TestEndpoint[] = [];
    for (let count = 0; count < HANGING_ENDPOINTS; count += 1) {
      hanging.push(await createEndpoint(hostile, black.url));
    }
    const other = await app.createCustomer();
    const endpoint = await createEndpoint(other, good.url);
    for (let count = 0; count < EVENTS_TO_HANGING; count += 1) await publish(hostile, `bad_${count}`);
    await eventually('the first hanging receiver has its event', () => black.received.length > 0);

    const delaysMs: number[] = [];
    for (let count = 0; count < EVENTS_TO_OTHERS; count += 1) {
      await publish(other, `good_${count}`);
      delaysMs.push(await arrivalOf(`good_${count}"`));
    }
    expect(Math.max(...delaysMs)).toBeLessThan(DELAY_MAX_MS);
    await eventually('each of them is noted', async () => {
      const deliveries = await deliveriesTo(app, endpoint);
      return deliveries.every(({ status }) => status === 'succeeded');
    });
    expect(await deliveriesTo(app, endpoint)).toHaveLength(EVENTS_TO_OTHERS);
    // Nothing was cut short or lost: what hangs is neither failed nor given up.
    const rows = (await Promise.all(hanging.map((one) => deliveriesTo(app, one)))).flat();
    expect(rows).toHaveLength(HANGING_ENDPOINTS * EVENTS_TO_HANGING);
    expect(new Set(rows.map(({ status }) => status))).toEqual(new Set(['pending']));
  });
});

/** How long it takes to come. */
async function arrivalOf(text: string): Promise<number> {
  const sentAtMs = performance.now();
  await eventually(`${text} came`, () => good.received.some(({ body }) => body.includes(text)));
  return performance.now() - sentAtMs;
}
