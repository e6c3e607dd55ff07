import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { StripeGapFillService } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import {
  OFF_SESSION_PAYMENTS,
  type OffSessionPayments,
} from '../../src/payments/stripe/off-session-payments.js';
import { StripeEventHandlers } from '../../src/payments/stripe/stripe-inbox.service.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import type { Event } from 'coffer-sandbox/stripe/objects';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { customerWithCard, switchOn, type CardCustomer } from '../support/payments/auto-top-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { deliver } from '../support/payments/stripe-deliveries.js';
import type { TestApp } from '../support/app/test-app.js';
import { expectCreditedOnce, settled, startTopUp } from '../fixtures/top-up-books.js';
import { aTopUp } from '../support/payments/top-up-samples.js';
import { startTwoProcesses, type TwoProcesses } from '../support/process/two-processes.js';

/**
 * Every type that speaks of a payment. Whatever they are called, they ask one question: where does the payment stand
 * now? It is paid.
 */
const PAYMENT_PAGE = [
  'checkout.session.completed',
  'checkout.session.async_payment_succeeded',
  'checkout.session.async_payment_failed',
  'checkout.session.expired',
] as const;
const SAVED_CARD = [
  'payment_intent.succeeded',
  'payment_intent.processing',
  'payment_intent.requires_action',
  'payment_intent.payment_failed',
  'payment_intent.canceled',
] as const;
const PROCESSES = ['one process', 'two processes'] as const;

/** A payment that is charged and not reported yet: an event of the type waits to be delivered. */
type Payment = { readonly event: Event; readonly expectOneCredit: () => Promise<void> };

let processes: TwoProcesses;
let app: TestApp;
let second: TestApp;
let control: SandboxStripeControl;
let cardCustomer: CardCustomer;

beforeAll(async () => {
  processes = await startTwoProcesses();
  ({ app, second, control } = processes);
  cardCustomer = await customerWithCard(app);
  const many = { daily_max_count: 100, monthly_max_count: 100 };
  const much = { daily_max_charge_cents: 500_000, monthly_max_charge_cents: 500_000 };
  // So low that nothing is charged but what the tests charge.
  await switchOn(cardCustomer, { threshold_micros: '1', ...many, ...much });
});

afterEach(() => control.clearFaults());

afterAll(async () => {
  await expectBooksToBalance(app.dataSource);
  await processes.close();
});

async function payPage(type: string): Promise<Payment> {
  const topUp = await startTopUp(app);
  control.setWebhookFaults({ loseEvents: true });
  await control.pay(topUp.sessionId);
  const event = await eventOf(topUp.sessionId, PAYMENT_PAGE[0], type);
  return { event, expectOneCredit: () => expectCreditedOnce(app, topUp) };
}

/** Stripe charged the saved card, and its answer was lost with every event. */
async function chargeCard(type: string): Promise<Payment> {
  const { accountId, customerId, paymentMethodId } = cardCustomer;
  const topUp = aTopUp({
    ...{ id: newId('topUp'), accountId, kind: 'auto', status: 'created', lotId: newId('creditLot') },
    ...{ customerId, paymentMethodId, checkoutSessionId: null, checkoutUrl: null, dispatchedAt: null },
    ...{ createdAt: new Date(), checkedAt: new Date() },
  });
  const { id: topUpId, chargeCents: amountCents } = topUp;
  await app.app.get(TransactionRunner).run((tx) => app.app.get(TopUpRepository).insert(topUp, tx));
  await app.dataSource.query('UPDATE top_ups SET dispatched_at = now() WHERE id = $1', [topUpId]);
  control.setWebhookFaults({ loseEvents: true });
  const { id } = await app.app
    .get<OffSessionPayments>(OFF_SESSION_PAYMENTS)
    .charge(
      { topUpId, accountId, customerId, paymentMethodId, amountCents, description: 'Auto top-up' },
      topUpId,
    );
  const event = await eventOf(id, SAVED_CARD[0], type);
  return { event, expectOneCredit: () => expectCardCreditedOnce(topUpId) };
}

/** The event of this type about what Stripe has just reported, not delivered yet. */
async function eventOf(objectId: string, reportedType: string, type: string): Promise<Event> {
  const original = control.events(reportedType).find(({ data }) => data.object['id'] === objectId);
  if (original === undefined) throw new Error(`no ${reportedType} of ${objectId}`);
  const event =
    type === reportedType ? original : await control.emitTamperedEvent(original.id, { event: { type } });
  control.clearFaults();
  return event;
}

async function expectCardCreditedOnce(topUpId: string): Promise<void> {
  const [row] = await app.dataSource.query<Record<string, unknown>[]>(
    `SELECT u.status, array_agg(t.kind || ' ' || t.amount_micros ORDER BY t.seq) AS transfers,
            (SELECT w.posted_micros = sum(c.amount_micros) FROM wallets w
               JOIN transfers c ON c.account_id = w.account_id AND c.kind = 'top_up'
              WHERE w.account_id = u.account_id GROUP BY w.posted_micros) AS no_other
       FROM top_ups u LEFT JOIN transfers t ON t.account_id = u.account_id AND t.reference = 'top_up:' || u.id
      WHERE u.id = $1 GROUP BY u.account_id, u.status`,
    [topUpId],
  );
  const transfers = ['top_up 10000000', 'top_up_fee 500000'];
  expect(row).toEqual({ status: 'paid', transfers, no_other: true });
}

async function send(event: unknown, to: readonly TestApp[], times = 1): Promise<void> {
  const targets = Array.from({ length: times }, (_, index) => to[index % to.length] ?? app);
  const answers = await Promise.all(targets.map((target) => deliver(target, event)));
  for (const answer of answers) answer.expect(200);
}

const fill = async (to: readonly TestApp[]): Promise<void> => {
  await Promise.all(to.map((process) => process.app.get(StripeGapFillService).fill(Date.now() + 2_000)));
};

/** Thin events of the same kinds carry nothing but a name. */
const thin = ({ id, type, data }: Event): Record<string, unknown> => ({
  id: `${id}thin`,
  object: 'v2.core.event',
  type: `v1.${type}`,
  livemode: false,
  created: new Date().toISOString(),
  related_object: { id: data.object['id'], type: data.object['object'], url: '/v1/of/no/use' },
});

type Way = (event: Event, to: readonly TestApp[], types: readonly string[]) => Promise<void>;

const WAYS: Record<string, Way> = {
  once: (event, to) => send(event, to),
  'ten times': (event, to) => send(event, to, 10),
  'as a thin event, and as a snapshot': async (event, to) => {
    await Promise.all([send(thin(event), to, 2), send(event, to)]);
  },
  'after all the others, in the wrong order': async (event, to, types) => {
    for (const type of types.filter((other) => other !== event.type).toReversed()) {
      await send({ ...event, id: `${event.id}${types.indexOf(type)}`, type }, to);
    }
    await send(event, to);
  },
  'late, when everything was settled by the gap fill': async (event, to) => {
    await fill(to);
    await settled(app);
    await send(event, to, 2);
  },
  'never: lost, and found in Stripe’s list': async (_event, to) => {
    await fill(to);
    await fill(to);
  },
};

const TABLE = [
  ...PAYMENT_PAGE.map((type) => ({ type, types: PAYMENT_PAGE, pay: payPage })),
  ...SAVED_CARD.map((type) => ({ type, types: SAVED_CARD, pay: chargeCard })),
];

describe.each(TABLE)('one payment is credited once when $type arrives', ({ type, types, pay }) => {
  describe.each(PROCESSES)('at %s', (where) => {
    it.each(Object.keys(WAYS))('%s', async (way) => {
      const to = where === 'one process' ? [app] : [app, second];
      const { event, expectOneCredit } = await pay(type);
      await WAYS[way]?.(event, to, types);
      await settled(app);
      await expectOneCredit();
    });
  });
});

describe('every event of every payment', () => {
  it('is in the table above: no other type that is acted on speaks of a payment that may be credited', () => {
    const types = app.app.get(StripeEventHandlers).types();
    const ofPayments = types.filter((type) => /^(checkout\.session|payment_intent)\./.test(type));
    expect(ofPayments.sort()).toEqual(TABLE.map(({ type }) => type as string).sort());
    // These take money back, count refused cards, or report cards and Stripe's own books.
    const others = types.filter((type) => !ofPayments.includes(type));
    expect(others).toEqual(
      others.filter((type) => /^(refund|charge|radar|payment_method|customer|payout|balance)\b/.test(type)),
    );
  });

  it('lost for ten payments at once is found by two processes, and each is credited once', async () => {
    const payments = await Promise.all(Array.from({ length: 10 }, () => payPage(PAYMENT_PAGE[0])));
    await fill([app, second]);
    await settled(app);
    for (const { expectOneCredit } of payments) await expectOneCredit();
    const rows = await app.dataSource.query<{ waiting: number }[]>(
      'SELECT count(*)::int AS waiting FROM stripe_events WHERE processed_at IS NULL',
    );
    expect(rows).toEqual([{ waiting: 0 }]);
  });

  it('of a payment page does not credit a second time when its PaymentIntent is reported as well', async () => {
    const { event, expectOneCredit } = await payPage(PAYMENT_PAGE[0]);
    const intent = control
      .events(SAVED_CARD[0])
      .find(({ data }) => data.object['id'] === event.data.object['payment_intent']);
    await Promise.all([send(intent, [app, second], 2), send(event, [second, app], 2)]);
    await settled(app);
    await send({ ...intent, id: `${intent?.id}again` }, [app, second], 2);
    await settled(app);
    await expectOneCredit();
  });
});
