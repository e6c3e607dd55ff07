import { centsToMicros, cents, type MicroUsd } from '../../platform/common/money.js';
import type { PlatformKind } from '../../money/ledger/chart-of-accounts.js';
import type { BalanceTransaction } from '../../payments/stripe/balance/balance-transaction.js';

export type Leg = { readonly kind: PlatformKind; readonly amountMicros: MicroUsd };

/** Bills of Stripe itself: the whole amount is a cost. */
const BILLS: ReadonlySet<string> = new Set(['stripe_fee', 'stripe_fx_fee', 'tax_fee', 'network_cost']);
/** Between the balance at Stripe and our bank account, in either direction. */
const TO_THE_BANK: ReadonlySet<string> = new Set([
  'payout',
  'payout_cancel',
  'payout_failure',
  'topup',
  'topup_reversal',
]);
/** Customers' money: its amount stands in the customer's own book, only its fee is ours. */
export const OF_CUSTOMERS: ReadonlySet<string> = new Set([
  'charge',
  'payment',
  'refund',
  'payment_refund',
  'refund_failure',
  'payment_failure_refund',
  'payment_reversal',
  // A dispute's money, and its way back.
  'adjustment',
]);

/**
 * What a balance transaction means to our own book: what Stripe kept (or gave back) and what went to the bank (or came
 * from it). Customers' own parts are booked where their payments, refunds and disputes are.
 */
export function legsOf({ type, currency, amountCents, feeCents }: BalanceTransaction): readonly Leg[] {
  // The ledger counts US dollars only. Another currency is another system's, on the same Stripe account.
  if (currency !== 'usd') return [];
  const keptCents = feeCents - (BILLS.has(type) ? amountCents : 0n);
  const paidOutCents = TO_THE_BANK.has(type) ? 0n - amountCents : 0n;
  return [
    ...leg(keptCents, 'processor_fee', 'processor_fee_return'),
    ...leg(paidOutCents, 'payout', 'payout_return'),
  ];
}

/**
 * What a balance transaction of a payment that no customer was credited with means to our own book: money that is owed, and not to
 * anybody's wallet. Once the customer's own book has it after all, the same leaves ours.
 */
export function unappliedLegsOf(amountCents: bigint, isApplied: boolean): readonly Leg[] {
  const keptCents = isApplied ? -amountCents : amountCents;
  return leg(keptCents, 'unapplied_payment', 'unapplied_payment_release');
}

/** False for what this service does not know how to book; its amount shows in the reconciliation until somebody looks. */
export function isKnownType(type: string): boolean {
  return BILLS.has(type) || TO_THE_BANK.has(type) || OF_CUSTOMERS.has(type);
}

function leg(amountCents: bigint, out: PlatformKind, back: PlatformKind): Leg[] {
  if (amountCents === 0n) return [];
  const isOut = amountCents > 0n;
  return [
    { kind: isOut ? out : back, amountMicros: centsToMicros(cents(isOut ? amountCents : -amountCents)) },
  ];
}
