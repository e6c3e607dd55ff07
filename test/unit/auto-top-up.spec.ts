import { describe, expect, it } from '@jest/globals';
import { cents, micros } from '../../src/platform/common/money.js';
import type { PaymentIntent } from '../../src/payments/stripe/off-session-payments.js';
import {
  AUTO_TOP_UP_STATUSES,
  canSwitch,
  type AutoTopUpStatus,
} from '../../src/payments/auto-top-ups/auto-top-up.machine.js';
import {
  decide,
  isExpired,
  reactTo,
  type Situation,
} from '../../src/payments/auto-top-ups/auto-top-up.rules.js';
import { judgeIntent } from '../../src/payments/auto-top-ups/auto-top-up-settlement.rules.js';
import { aTopUp } from '../support/payments/top-up-samples.js';

const TOP_UP = aTopUp({
  kind: 'auto',
  status: 'created',
  checkoutSessionId: null,
  paymentMethodId: 'pm_1',
  customerId: 'cus_1',
});

const PAID: PaymentIntent = {
  id: 'pi_1',
  livemode: false,
  status: 'succeeded',
  currency: 'usd',
  amountCents: cents(1_050n),
  amountReceivedCents: cents(1_050n),
  customerId: 'cus_1',
  paymentMethodId: 'pm_1',
  topUpId: TOP_UP.id,
  decline: null,
};

describe('the verdict on a PaymentIntent', () => {
  it('is credit only when everything that Stripe reports agrees with the quote', () => {
    expect(judgeIntent(TOP_UP, PAID, false)).toEqual({ kind: 'credit' });
  });

  it.each<[string, Partial<PaymentIntent>]>([
    ['the mode', { livemode: true }],
    ['the name on it', { topUpId: 'tu_01KB2H7Q0000000000000000AB' }],
    ['the customer', { customerId: 'cus_2' }],
    ['no customer', { customerId: null }],
    ['the currency', { currency: 'eur' }],
    ['the amount', { amountCents: cents(1_051n) }],
    ['an amount that is no number of cents', { amountCents: null }],
    ['what was received', { amountReceivedCents: cents(1_049n) }],
  ])('is a review when Stripe contradicts %s', (_what, lie) => {
    expect(judgeIntent(TOP_UP, { ...PAID, ...lie }, false)).toMatchObject({ kind: 'review' });
  });

  it('is a review for a payment of a payment page, and for a second intent', () => {
    expect(judgeIntent({ ...TOP_UP, kind: 'checkout' }, PAID, false)).toMatchObject({ kind: 'review' });
    expect(judgeIntent({ ...TOP_UP, paymentIntentId: 'pi_2' }, PAID, false)).toMatchObject({
      kind: 'review',
    });
  });

  it.each([
    ['requires_payment_method', 'declined'],
    ['canceled', 'declined'],
    ['requires_action', 'declined'],
    ['processing', 'wait'],
    ['a_status_of_tomorrow', 'wait'],
  ])('of status %s is: %s', (status, kind) => {
    expect(judgeIntent(TOP_UP, { ...PAID, status, amountReceivedCents: cents(0n) }, false)).toMatchObject({
      kind,
    });
  });
});

describe('a decline', () => {
  const decline = (code: string, declineCode: string | null, adviceCode: string | null) => ({
    code,
    declineCode,
    adviceCode,
  });

  it.each([
    [decline('card_declined', 'insufficient_funds', 'try_again_later'), 'retry'],
    [decline('card_declined', 'generic_decline', null), 'retry'],
    [decline('card_declined', 'lost_card', 'do_not_try_again'), 'switch_off'],
    [decline('incorrect_cvc', null, 'confirm_card_data'), 'switch_off'],
    [decline('expired_card', null, null), 'switch_off'],
    [decline('authentication_required', 'authentication_required', null), 'action_required'],
    // Stripe may advise to try again, but no customer is present to confirm.
    [decline('card_declined', 'authentication_required', 'try_again_later'), 'action_required'],
    [null, 'retry'],
  ])('%j leads to: %s', (found, kind) => {
    expect(reactTo(found, 1)).toMatchObject({ kind });
  });

  it('that is the second in a row ends it, whatever the advice', () => {
    expect(reactTo(decline('card_declined', null, 'try_again_later'), 2)).toEqual({
      kind: 'switch_off',
      reason: 'payments_failed',
    });
  });
});

describe('a card', () => {
  it('is good to the end of its month, everywhere', () => {
    const card = { expMonth: 12, expYear: 2026, attached: true };
    expect(isExpired(card, Date.UTC(2027, 0, 1, 11, 59))).toBe(false);
    expect(isExpired(card, Date.UTC(2027, 0, 1, 12))).toBe(true);
  });
});

describe('the decision', () => {
  const terms = {
    thresholdMicros: micros(5_000_000n),
    amountCents: cents(2_000n),
    dailyMaxCount: 3,
    dailyMaxCents: cents(6_300n),
    monthlyMaxCount: 30,
    monthlyMaxCents: cents(63_000n),
    cooldownSeconds: 60,
  };
  const nothing = { count: 0, cents: 0n };
  const low: Situation = {
    nowMs: Date.UTC(2026, 10, 22),
    availableMicros: micros(4_999_999n),
    frozen: false,
    disputed: false,
    taxed: false,
    chargeCents: cents(2_100n),
    card: { expMonth: 12, expYear: 2034, attached: true },
    usage: { day: nothing, month: nothing, lastStartedAtMs: null, declinesInARow: 0 },
  };

  it.each<[string, Partial<Situation>, object]>([
    ['below the threshold, with nothing in the way', {}, { kind: 'charge' }],
    ['at the threshold', { availableMicros: micros(5_000_000n) }, { kind: 'nothing', why: 'enough' }],
    ['while frozen', { frozen: true }, { kind: 'nothing', why: 'frozen' }],
    ['while disputed', { disputed: true }, { kind: 'nothing', why: 'disputed' }],
    [
      'of an amount that is not sold',
      { chargeCents: null },
      { kind: 'switch_off', reason: 'amount_not_possible' },
    ],
    [
      'of more than a cap',
      { chargeCents: cents(6_301n) },
      { kind: 'switch_off', reason: 'amount_not_possible' },
    ],
    [
      'while sales tax is due, which no page would collect',
      { taxed: true },
      { kind: 'switch_off', reason: 'tax_not_collected' },
    ],
    [
      'with a removed card',
      { card: { expMonth: 12, expYear: 2034, attached: false } },
      { kind: 'switch_off', reason: 'card_removed' },
    ],
  ])('%s is as it should be', (_when, changes, decision) => {
    expect(decide('on', terms, { ...low, ...changes })).toMatchObject(decision);
  });

  it('is never to charge while it is not on', () => {
    for (const status of AUTO_TOP_UP_STATUSES.filter((each) => each !== 'on')) {
      expect(decide(status, terms, low)).toEqual({ kind: 'nothing', why: status });
    }
  });
});

describe('auto top-up moves', () => {
  const ALLOWED = ['on>action_required', 'on>off', 'action_required>on', 'action_required>off', 'off>on'];
  const all = AUTO_TOP_UP_STATUSES.flatMap((from) =>
    AUTO_TOP_UP_STATUSES.map((to): [AutoTopUpStatus, AutoTopUpStatus] => [from, to]),
  );

  it.each(all)('from %s to %s only as its table says', (from, to) => {
    expect(canSwitch(from, to)).toBe(ALLOWED.includes(`${from}>${to}`));
  });
});
