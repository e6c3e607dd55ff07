import { describe, expect, it } from '@jest/globals';
import { cents } from '../../src/platform/common/money.js';
import {
  isKnownType,
  toLegs,
  toUnappliedLegs,
} from '../../src/finance/reconciliation/platform-book.rules.js';
import { POSTING_RULES } from '../../src/money/ledger/transfer.js';
import type { BalanceTransaction } from '../../src/payments/stripe/stripe-balance-list.js';

function balanceTransaction(type: string, amount: bigint, fee: bigint, currency = 'usd'): BalanceTransaction {
  return {
    id: 'txn_1',
    type,
    reportingCategory: type,
    currency,
    amountCents: cents(amount),
    feeCents: cents(fee),
    netCents: cents(amount - fee),
    sourceId: null,
    paymentIntentId: null,
    topUpId: null,
    createdAt: new Date(0),
  };
}

describe('our own part of a balance transaction', () => {
  it.each([
    ['a charge: what Stripe kept', balanceTransaction('charge', 1_050n, 60n), [['processor_fee', 600_000n]]],
    ['a charge without a fee', balanceTransaction('charge', 1_050n, 0n), []],
    ['a refund, whose fee stays with Stripe', balanceTransaction('refund', -1_050n, 0n), []],
    [
      'a refund that Stripe charges for',
      balanceTransaction('refund', -1_050n, 15n),
      [['processor_fee', 150_000n]],
    ],
    ['a failed refund', balanceTransaction('refund_failure', 1_050n, 0n), []],
    [
      'a dispute and its fee',
      balanceTransaction('adjustment', -1_050n, 1_500n),
      [['processor_fee', 15_000_000n]],
    ],
    ['a won dispute', balanceTransaction('adjustment', 1_050n, 0n), []],
    [
      'a won dispute whose fee comes back',
      balanceTransaction('adjustment', 1_050n, -1_500n),
      [['processor_fee_return', 15_000_000n]],
    ],
    ['a bill of Stripe', balanceTransaction('stripe_fee', -200n, 0n), [['processor_fee', 2_000_000n]]],
    [
      'a bill that is given back',
      balanceTransaction('stripe_fee', 200n, 0n),
      [['processor_fee_return', 2_000_000n]],
    ],
    ['a payout', balanceTransaction('payout', -990n, 0n), [['payout', 9_900_000n]]],
    [
      'an instant payout and its fee',
      balanceTransaction('payout', -990n, 10n),
      [
        ['processor_fee', 100_000n],
        ['payout', 9_900_000n],
      ],
    ],
    ['a negative payout', balanceTransaction('payout', 990n, 0n), [['payout_return', 9_900_000n]]],
    ['a payout that failed', balanceTransaction('payout_failure', 990n, 0n), [['payout_return', 9_900_000n]]],
    ['money that we send to Stripe', balanceTransaction('topup', 500n, 0n), [['payout_return', 5_000_000n]]],
    [
      'what no one knows, of which only the fee is ours',
      balanceTransaction('climate', -100n, 1n),
      [['processor_fee', 10_000n]],
    ],
    ['another currency', balanceTransaction('charge', 1_050n, 60n, 'eur'), []],
  ])('is booked for %s', (_what, transaction, expected) => {
    expect(toLegs(transaction).map(({ kind, amountMicros }) => [kind, amountMicros])).toEqual(expected);
  });

  it('leaves of the balance exactly what Stripe’s net says, when the customer’s part is booked in the customer’s book', () => {
    for (const type of [
      'charge',
      'refund',
      'refund_failure',
      'adjustment',
      'stripe_fee',
      'payout',
      'payout_failure',
    ]) {
      for (const amount of [-1_050n, -1n, 1n, 1_050n]) {
        for (const fee of [-1_500n, 0n, 60n]) {
          const isCustomers = ['charge', 'refund', 'refund_failure', 'adjustment'].includes(type);
          const ours = toLegs(balanceTransaction(type, amount, fee)).reduce((sum, { kind, amountMicros }) => {
            const [[debit]] = POSTING_RULES[kind];
            return debit === 'stripe_clearing' ? sum + amountMicros : sum - amountMicros;
          }, 0n);
          expect(ours + (isCustomers ? amount * 10_000n : 0n)).toBe((amount - fee) * 10_000n);
        }
      }
    }
  });

  it('distinguishes a type that it cannot book from those that it can', () => {
    expect(['charge', 'payout', 'stripe_fee', 'adjustment', 'reserve_hold'].map(isKnownType)).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
  });
});

describe('a payment that no customer was credited with', () => {
  it.each([
    ['is owed as soon as it came', 1_050n, false, 'unapplied_payment'],
    ['is owed no more as far as it went back', -1_050n, false, 'unapplied_payment_release'],
    ['is not owed by the platform once it is credited', 1_050n, true, 'unapplied_payment_release'],
    ['and is credited, owes nothing for what had gone back of it', -1_050n, true, 'unapplied_payment'],
  ])('%s', (_what, amountCents, isCredited, kind) => {
    expect(toUnappliedLegs(amountCents, isCredited)).toEqual([{ kind, amountMicros: 10_500_000n }]);
  });
});
