import { WebhookDeliveryJob } from '../../../src/notifications/webhooks/webhook-delivery.job.js';
import type { TestApp, TestCustomer } from '../app/test-app.js';

export type TestEndpoint = { readonly id: string; readonly secret: string };

/** An endpoint of the customer at this URL; top-ups by default. */
export async function createEndpoint(
  { client }: TestCustomer,
  url: string,
  events: readonly string[] = ['top_up.succeeded', 'top_up.failed'],
): Promise<TestEndpoint> {
  const { body } = (await client.post('/v1/webhook_endpoints', { url, events })).expect(201);
  return { id: String(body.id), secret: String(body.secret) };
}

export type DeliveryRow = {
  readonly id: string;
  readonly account_id: string;
  readonly endpoint_id: string;
  readonly event_id: string;
  readonly status: string;
  readonly attempts: number;
  readonly response_status: number | null;
  readonly error: string | null;
};

/** Oldest first. */
export function deliveriesTo(app: TestApp, { id }: Pick<TestEndpoint, 'id'>): Promise<DeliveryRow[]> {
  return app.dataSource.query<DeliveryRow[]>(
    `SELECT id, account_id, endpoint_id, event_id, status, attempts, response_status, error
       FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY id`,
    [id],
  );
}

/** When the next attempt is queued, Unix milliseconds; null: none is. */
export async function queuedAt(app: TestApp, deliveryId: string): Promise<number | null> {
  const rows = await app.dataSource.query<{ run_at: Date }[]>(
    `SELECT run_at FROM graphile_worker._private_jobs WHERE key = $1`,
    [`webhook_delivery:${deliveryId}`],
  );
  if (rows.length > 1) throw new Error('one delivery has one job');
  return rows[0]?.run_at.getTime() ?? null;
}

/** Runs the attempt that is queued for the delivery, as a worker would, and takes its job out of the queue. */
export async function attempt(app: TestApp, { id, account_id }: DeliveryRow): Promise<void> {
  await app.dataSource.query('DELETE FROM graphile_worker._private_jobs WHERE key = $1', [
    `webhook_delivery:${id}`,
  ]);
  const job = app.app.get(WebhookDeliveryJob, { strict: false });
  await job.run({ account_id, delivery_id: id });
  // On a busy machine the receiver may answer after the job has lost its patience.
  await job.idle();
}
