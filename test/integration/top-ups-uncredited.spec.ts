import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import type { Event } from 'coffer-sandbox/stripe/objects';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { deliver } from '../support/payments/stripe-deliveries.js';
import {
  expectCreditedOnce,
  expectNothingCredited,
  settled,
  startTopUp,
  statusOf,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';

let app: SharedShop;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await sharedShop();
  control = app.control;
});

afterEach(() => control.clearFaults());

function eventOf(topUp: OpenTopUp): Event {
  const events = control.events('checkout.session.completed');
  const event = events.find(({ data }) => data.object['id'] === topUp.sessionId);
  if (event === undefined) throw new Error(`${topUp.id} is not paid`);
  return event;
}

describe('what must credit nothing', () => {
  it('a forged, unsigned or outdated event of a real payment page', async () => {
    const topUp = await startTopUp(app);
    const paid = await startTopUp(app);
    await control.pay(paid.sessionId);
    await settled(app);
    const { data, ...rest } = eventOf(paid);
    const event = { ...rest, id: 'evt_forged', data: { object: { ...data.object, id: topUp.sessionId } } };
    (await deliver(app, event, { signature: null })).expect(400);
    (await deliver(app, event, { secret: 'whsec_guessed' })).expect(400);
    (await deliver(app, event, { secondsAhead: -301 })).expect(400);
    (await deliver(app, event, { secondsAhead: 3_600 })).expect(400);
    expect(await control.sendEvent(eventOf(paid).id, { secret: 'whsec_guessed' })).toEqual([400]);
    await settled(app);
    await expectNothingCredited(app, topUp);
    await expectCreditedOnce(app, paid);
  });

  it('a well signed event that lies about a session which no one paid', async () => {
    const topUp = await startTopUp(app);
    const paid = await startTopUp(app);
    await control.pay(paid.sessionId);
    await settled(app);
    const lie = {
      ...(eventOf(paid).data.object as object),
      id: topUp.sessionId,
      client_reference_id: topUp.id,
    };
    await control.emitTamperedEvent(eventOf(paid).id, {
      object: { ...lie, metadata: { top_up_id: topUp.id } },
    });
    await settled(app);
    expect(await statusOf(app, topUp)).toBe('pending');
    await expectNothingCredited(app, topUp);
  });

  it.each<[string, Record<string, unknown>]>([
    ['a smaller amount', { amount_subtotal: 105, amount_total: 105 }],
    ['a larger amount', { amount_subtotal: 105_000, amount_total: 105_000 }],
    ['a discount', { amount_total: 1 }],
    ['another currency', { currency: 'eur' }],
    ['the wrong mode', { livemode: true }],
    ['another top-up', { client_reference_id: 'tu_01KB2H7Q0000000000000000AA' }],
    ['no payment at all', { payment_status: 'no_payment_required' }],
  ])('a paid session that reports %s: it waits for review instead', async (_what, changes) => {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ delayMs: 50 });
    await control.pay(topUp.sessionId);
    await control.overrideCheckoutSession(topUp.sessionId, changes);
    await settled(app);
    await expectNothingCredited(app, topUp);
    const view = await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`);
    expect(view.body).toMatchObject({
      status: 'needs_review',
      failure_code: 'payment_mismatch',
      paid_at: null,
    });
    // Repeating the event changes nothing.
    await control.sendEvent(eventOf(topUp).id, { times: 3 });
    await settled(app);
    await expectNothingCredited(app, topUp);
  });

  it('a session of somebody else’s on the same Stripe account', async () => {
    const topUp = await startTopUp(app);
    await control.overrideCheckoutSession(topUp.sessionId, { metadata: {}, client_reference_id: 'order_17' });
    await control.pay(topUp.sessionId);
    await settled(app);
    expect(await statusOf(app, topUp)).toBe('pending');
    await expectNothingCredited(app, topUp);
  });

  it('a session that expired unpaid', async () => {
    const topUp = await startTopUp(app);
    await control.expireCheckoutSession(topUp.sessionId);
    await settled(app);
    const view = await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`);
    expect(view.body).toMatchObject({ status: 'expired', checkout_url: null, failure_code: null });
    await expectNothingCredited(app, topUp);
  });
});

describe('the database itself', () => {
  it('keeps a paid top-up paid and every quote as it was, against any writer', async () => {
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    const attempts = [
      `UPDATE top_ups SET status = 'failed', paid_at = NULL WHERE id = $1`,
      `UPDATE top_ups SET checkout_session_id = 'cs_other' WHERE id = $1`,
      `UPDATE top_ups SET credit_micros = credit_micros + 10000, charge_cents = charge_cents + 1 WHERE id = $1`,
      `UPDATE top_ups SET lot_id = 'lot_other' WHERE id = $1`,
    ];
    for (const sql of attempts) {
      await expect(app.dataSource.query(sql, [topUp.id])).rejects.toThrow(/its quote is fixed/);
    }
    await expect(app.dataSource.query('DELETE FROM top_ups WHERE id = $1', [topUp.id])).rejects.toThrow(
      /permission denied/,
    );
    await expectCreditedOnce(app, topUp);
  });
});
