import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { Event } from 'coffer-sandbox/stripe/objects';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { TopUpSettlementService } from '../../src/payments/settlement/top-up-settlement.service.js';
import { TopUpSweepJob } from '../../src/payments/settlement/top-up-sweep.job.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { deliver } from '../support/payments/stripe-deliveries.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import {
  expectCreditedOnce,
  expectNothingCredited,
  settled,
  startTopUp,
  statusOf,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';
import { startTwoProcesses, type TwoProcesses } from '../support/process/two-processes.js';

const COMPLETED = 'checkout.session.completed';

let processes: TwoProcesses;
let app: TestApp;
let second: TestApp;
let control: SandboxStripeControl;

beforeAll(async () => {
  processes = await startTwoProcesses();
  ({ app, second, control } = processes);
});

afterEach(() => {
  control.clearFaults();
  jest.restoreAllMocks();
});

afterAll(() => processes.close());

/** Every test's session is another, and the sandbox remembers them all. */
function eventOf(topUp: OpenTopUp, type = COMPLETED): Event {
  const event = control.events(type).find(({ data }) => data.object['id'] === topUp.sessionId);
  if (event === undefined) throw new Error(`no ${type} for ${topUp.id}`);
  return event;
}

async function payQuietly(topUp: OpenTopUp): Promise<void> {
  control.setWebhookFaults({ loseEvents: true });
  await control.pay(topUp.sessionId);
  control.setWebhookFaults({ loseEvents: false });
}

/** No route does this: the application's role may not set the column back, so the owner's role moves it into the past. */
async function makeUnchecked(topUp: OpenTopUp, minutes: number): Promise<void> {
  await app.dataSource.query(
    `UPDATE top_ups SET checked_at = checked_at - make_interval(mins => $2) WHERE id = $1`,
    [topUp.id, minutes],
  );
}

describe('one payment', () => {
  it('is credited once, with its fee booked separately, and can be spent', async () => {
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    await expectCreditedOnce(app, topUp);
    const wallet = await topUp.customer.client.get('/v1/wallet');
    expect(wallet.body).toMatchObject({ available_micros: '10000000', posted_micros: '10000000' });
  });

  it('is credited once when every event is delivered ten times', async () => {
    control.setWebhookFaults({ copies: 10 });
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    await control.sendEvent(eventOf(topUp).id, { times: 10 });
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('is credited once when its event is delivered to two processes at the same time, again and again', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const event = eventOf(topUp);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => deliver(index % 2 === 0 ? app : second, event)),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('is credited once when ten different events speak of it, worked off by two processes at once', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const event = eventOf(topUp);
    const types = [COMPLETED, 'checkout.session.async_payment_succeeded'];
    const events = Array.from({ length: 10 }, (_, index) => ({
      ...event,
      id: `${event.id}${index}`,
      type: types[index % 2],
    }));
    await Promise.all(events.map((each, index) => deliver(index % 2 === 0 ? app : second, each)));
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('is credited once when both processes settle it directly at the same moment', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const [one, other] = [app.app.get(TopUpSettlementService), second.app.get(TopUpSettlementService)];
    const both = () => [one.settle(topUp.sessionId), other.settle(topUp.sessionId)];
    await Promise.all([...both(), ...both(), ...both(), ...both(), ...both()]);
    await expectCreditedOnce(app, topUp);
  });

  it('is credited once when events arrive in the wrong order, and payments overlap', async () => {
    control.setWebhookFaults({ reorder: true });
    const topUps = await Promise.all([1, 2, 3, 4, 5].map(() => startTopUp(app)));
    await Promise.all(topUps.map(({ sessionId }) => control.pay(sessionId)));
    await settled(app);
    for (const topUp of topUps) await expectCreditedOnce(app, topUp);
  });

  it('is credited although deliveries were lost on the way and came late', async () => {
    control.setWebhookFaults({ dropNextAttempts: 5, delayMs: 300 });
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('is credited although no event ever came: the sweep asks Stripe', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const sweep = app.app.get(TopUpSweepJob);
    await sweep.run();
    await expectNothingCredited(app, topUp);
    await makeUnchecked(topUp, 11);
    await sweep.run();
    await sweep.run();
    await expectCreditedOnce(app, topUp);
  });

  it('is credited by a thin event', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const thin = {
      id: `evt_thin_${topUp.id.slice(3)}`,
      object: 'v2.core.event',
      type: `v1.${COMPLETED}`,
      livemode: false,
      created: new Date().toISOString(),
      related_object: { id: topUp.sessionId, type: 'checkout.session', url: '/v1/checkout/sessions' },
    };
    (await deliver(app, thin)).expect(200);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('is credited after the customer’s first card was declined', async () => {
    const topUp = await startTopUp(app);
    expect(await control.pay(topUp.sessionId, '4000000000000002')).toMatchObject({ status: 'declined' });
    await settled(app);
    await expectNothingCredited(app, topUp);
    expect(await statusOf(app, topUp)).toBe('pending');
    await control.pay(topUp.sessionId);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('buys less than is paid in mode deducted: pay 100, get 95', async () => {
    const { topUp: settings } = app.settings;
    const deducted = await startTestApp({
      databaseUrl: app.databaseUrl,
      settings: {
        stripe: app.settings.stripe,
        operatorKey: app.operatorKey,
        topUp: { ...settings, feeMode: 'deducted' },
      },
    });
    const topUp = await startTopUp(deducted, { credit_cents: 10_000 });
    await deducted.close();
    expect(await control.pay(topUp.sessionId)).toMatchObject({ session: { amount_total: 10_000 } });
    await settled(app);
    await expectCreditedOnce(app, topUp, { credit: 95_000_000n, fee: 5_000_000n });
  });
});

describe('a settlement that is cut off', () => {
  it('credits once when the process fails between the wallet and the row', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const move = jest.spyOn(TopUpRepository.prototype, 'move');
    move.mockRejectedValueOnce(new Error('cut off after the credit'));
    (await deliver(app, eventOf(topUp))).expect(200);
    await eventually('it failed after the credit', async () => {
      const rows = await app.dataSource.query<{ attempts: number }[]>(
        'SELECT attempts FROM stripe_events WHERE object_id = $1 AND last_error IS NOT NULL',
        [topUp.sessionId],
      );
      return rows.length === 1;
    });
    expect(await statusOf(app, topUp)).toBe('pending');
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('credits once when the wallet’s answer is lost after its commit', async () => {
    const topUp = await startTopUp(app);
    await payQuietly(topUp);
    const settlement = app.app.get(TopUpSettlementService);
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    jest.spyOn(engine, 'execute').mockImplementationOnce(async (command) => {
      await execute(command);
      throw new Error('connection lost after COMMIT');
    });
    await expect(settlement.settle(topUp.sessionId)).rejects.toThrow('connection lost');
    await settlement.settle(topUp.sessionId);
    await expectCreditedOnce(app, topUp);
  });

  it('credits once when Stripe cannot be asked at first', async () => {
    const topUp = await startTopUp(app);
    control.failRequests({ method: 'GET', pathPrefix: '/v1/checkout/sessions', outcome: 500, times: 3 });
    await control.pay(topUp.sessionId);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('credits once when the event overtakes the answer to the request that opened the page', async () => {
    const topUp = await startTopUp(app);
    // As if the process died before it wrote down which session Stripe made.
    const owner = `UPDATE top_ups SET status = 'created', checkout_session_id = NULL, checkout_url = NULL WHERE id = $1`;
    await app.dataSource.query(owner, [topUp.id]);
    await control.pay(topUp.sessionId);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });
});

describe('late and contradictory events', () => {
  it('does not undo a payment: an expiry that arrives after it is re-read as paid', async () => {
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    await control.emitTamperedEvent(eventOf(topUp).id, { event: { type: 'checkout.session.expired' } });
    await control.emitTamperedEvent(eventOf(topUp).id, {
      event: { type: 'checkout.session.async_payment_failed' },
    });
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('waits for a bank debit, and credits it when it arrives days later', async () => {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ delayMs: 50 });
    await control.pay(topUp.sessionId);
    await control.overrideCheckoutSession(topUp.sessionId, { payment_status: 'unpaid' });
    const intent = String(eventOf(topUp).data.object['payment_intent']);
    await control.overridePaymentIntent(intent, { status: 'processing' });
    await settled(app);
    expect(await statusOf(app, topUp)).toBe('processing');
    await expectNothingCredited(app, topUp);

    await control.overrideCheckoutSession(topUp.sessionId, { payment_status: 'paid' });
    await control.overridePaymentIntent(intent, { status: 'succeeded' });
    await control.emitTamperedEvent(eventOf(topUp).id, {
      event: { type: 'checkout.session.async_payment_succeeded' },
    });
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('gives up a bank debit that failed, and credits it should the bank change its mind', async () => {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ delayMs: 50 });
    await control.pay(topUp.sessionId);
    await control.overrideCheckoutSession(topUp.sessionId, { payment_status: 'unpaid' });
    const intent = String(eventOf(topUp).data.object['payment_intent']);
    await control.overridePaymentIntent(intent, { status: 'requires_payment_method' });
    await settled(app);
    const view = await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`);
    expect(view.body).toMatchObject({ status: 'failed', failure_code: 'payment_failed' });
    await expectNothingCredited(app, topUp);

    await control.overrideCheckoutSession(topUp.sessionId, { payment_status: 'paid' });
    await control.sendEvent(eventOf(topUp).id);
    await app.app.get(TopUpSettlementService).settle(topUp.sessionId);
    await expectCreditedOnce(app, topUp);
  });

  it('closes what no one can pay any more, also when Stripe was never reached', async () => {
    const topUp = await startTopUp(app);
    const orphan = await startTopUp(app);
    await app.dataSource.query(
      `UPDATE top_ups SET status = 'created', checkout_session_id = NULL, expires_at = now() - interval '1 minute'
        WHERE id = $1`,
      [orphan.id],
    );
    control.setWebhookFaults({ loseEvents: true });
    await control.expireCheckoutSession(topUp.sessionId);
    for (const each of [topUp, orphan]) await makeUnchecked(each, 11);
    await app.app.get(TopUpSweepJob).run();
    expect(await statusOf(app, topUp)).toBe('expired');
    expect(await statusOf(app, orphan)).toBe('failed');
    await expectNothingCredited(app, topUp);
  });
});
