import type { TestApp } from '../app/test-app.js';
import { payPage, startTopUp, type OpenTopUp } from '../../fixtures/top-up-books.js';

/** $10.00 of credit for $10.50, paid and credited. */
export async function paidTopUp(app: TestApp): Promise<OpenTopUp> {
  return payPage(app, await startTopUp(app));
}

/** Stripe's id of the charge that paid for it. */
export async function chargeIdOf(app: TestApp, { id }: OpenTopUp): Promise<string> {
  const rows = await app.dataSource.query<{ intent: string }[]>(
    'SELECT payment_intent_id AS intent FROM top_ups WHERE id = $1',
    [id],
  );
  const charges = app.stripe?.control.events('charge.succeeded').map(({ data }) => data.object) ?? [];
  return String(charges.find((charge) => charge['payment_intent'] === rows[0]?.intent)?.['id']);
}

/** Stripe's id of its only refund. */
export async function refundIdOf(app: TestApp, { id }: OpenTopUp): Promise<string> {
  const rows = await app.dataSource.query<{ id: string }[]>(
    'SELECT stripe_refund_id AS id FROM refunds WHERE top_up_id = $1',
    [id],
  );
  return rows[0]?.id ?? '';
}
