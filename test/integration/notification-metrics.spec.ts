import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { AlertEmailJob } from '../../src/notifications/alerts/alert-email.job.js';
import { attempt } from '../support/webhooks/webhook-deliveries.js';
import { WebhookStage } from '../support/webhooks/webhook-stage.js';

let stage: WebhookStage;

beforeAll(async () => {
  stage = await WebhookStage.open();
});
beforeEach(() => stage.begin());
afterEach(() => stage.end());
afterAll(() => stage.close());

async function metric(line: string): Promise<number | null> {
  // What is read from the database is read again after ten seconds.
  stage.clock.letPass(10_001);
  const text = await (await fetch(`${stage.app.url}/metrics`)).text();
  const found = text.split('\n').find((one) => one.startsWith(`${line} `));
  return found === undefined ? null : Number(found.split(' ').at(-1));
}

describe('the metrics', () => {
  it('count attempts of webhooks by what came of them, and say how long the oldest has been due', async () => {
    expect(await metric('coffer_webhook_pending')).toBe(0);
    expect(await metric('coffer_webhook_oldest_due_seconds')).toBe(0);
    await stage.events.publish(null, stage.topUpSucceeded());
    expect(await metric('coffer_webhook_pending')).toBe(1);
    stage.clock.letPass(600_000);
    expect(await metric('coffer_webhook_oldest_due_seconds')).toBeGreaterThanOrEqual(600);
    stage.receiver.answer = (count) =>
      count === 1 ? { status: 503 } : count === 2 ? 'cut' : { status: 204 };
    const delivery = await stage.onlyDelivery();
    for (let count = 0; count < 3; count += 1) await attempt(stage.app, delivery);
    for (const outcome of ['5xx', 'connection_failed', '2xx']) {
      const line = `coffer_webhook_attempt_seconds_count{outcome="${outcome}"}`;
      expect({ outcome, count: await metric(line) }).toEqual({ outcome, count: 1 });
    }
    expect(await metric('coffer_webhook_pending')).toBe(0);
  });

  it('count mails by what came of them, and those that wait', async () => {
    const body = { email: 'billing@example.com' };
    (await stage.customer.client.send('PUT', '/v1/wallet/alerts', { body })).expect(200);
    expect(await metric('coffer_email_pending')).toBe(1);
    const [email] = await stage.app.dataSource.query<{ id: string; account_id: string }[]>(
      'SELECT id, account_id FROM alert_emails',
    );
    const job = stage.app.app.get(AlertEmailJob, { strict: false });
    await job.run({ account_id: email?.account_id ?? '', email_id: email?.id ?? '' });
    expect(await metric('coffer_email_attempts_total{outcome="sent"}')).toBe(1);
    expect(await metric('coffer_email_pending')).toBe(0);
    expect(await metric('coffer_email_oldest_due_seconds')).toBe(0);
  });
});
