import { centsToMicros, cents, type MicroUsd } from '../../platform/common/money.js';
import type { PlatformKind } from '../../money/ledger/transfer.js';
import type { BalanceTransaction } from '../../payments/stripe/stripe-balance-list.js';

export type Leg = { readonly kind: PlatformKind; readonly amountMicros: MicroUsd };

/** Bills of Stripe itself. Their whole amount is a cost. */
const BILLS: ReadonlySet<string> = new Set(['stripe_fee', 'stripe_fx_fee', 'tax_fee', 'network_cost']);
/** Movements between the balance at Stripe and our bank account, in either direction. */
const TO_THE_BANK: ReadonlySet<string> = new Set([
  'payout',
  'payout_cancel',
  'payout_failure',
  'topup',
  'topup_reversal',
]);
/** Customers' money. Its amount is booked in the customer's own book, and only its fee in ours. */
export const OF_CUSTOMERS: ReadonlySet<string> = new Set([
  'charge',
  'payment',
  'refund',
  'payment_refund',
  'refund_failure',
  'payment_failure_refund',
  'payment_reversal',
  // The money of a dispute, when it is taken and when it is given back.
  'adjustment',
]);

/**
 * Converts a balance transaction to the legs of our own book: what Stripe kept (or gave back), and what was paid out to the
 * bank (or came from it). The customers' parts are booked with their payments, refunds and disputes.
 */
export function toLegs({ type, currency, amountCents, feeCents }: BalanceTransaction): readonly Leg[] {
  // The ledger counts US dollars only. Other currencies belong to other systems on the same Stripe account.
  if (currency !== 'usd') return [];
  const keptCents = feeCents - (BILLS.has(type) ? amountCents : 0n);
  const paidOutCents = TO_THE_BANK.has(type) ? 0n - amountCents : 0n;
  return [
    ...leg(keptCents, 'processor_fee', 'processor_fee_return'),
    ...leg(paidOutCents, 'payout', 'payout_return'),
  ];
}

/**
 * Converts a balance transaction of a payment that no customer was credited with to the legs of our own book. The money is owed, but
 * is in no wallet. When the customer's own book has it later, the same amount leaves ours.
 */
export function toUnappliedLegs(amountCents: bigint, isApplied: boolean): readonly Leg[] {
  const keptCents = isApplied ? -amountCents : amountCents;
  return leg(keptCents, 'unapplied_payment', 'unapplied_payment_release');
}

/** Returns false for a type that this service cannot book. Its amount is a difference in the reconciliation until an operator settles it. */
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
