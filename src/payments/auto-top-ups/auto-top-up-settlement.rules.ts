import { centsToMicros, formatUsd, type UsdCents } from '../../platform/common/money.js';
import type { CardDecline, PaymentIntent } from '../stripe/off-session-payments.js';
import type { TopUp } from '../top-ups/top-up.js';

/** What a PaymentIntent means for its auto top-up. */
export type IntentVerdict =
  /** It is paid, and everything that Stripe reports agrees with the quote. */
  | { readonly kind: 'credit' }
  /** The payment is not decided yet. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'declined'; readonly decline: CardDecline | null }
  /** Stripe's record contradicts ours. Nothing is credited until an operator has decided. */
  | { readonly kind: 'review'; readonly contradictions: readonly string[] };

const NO_CUSTOMER_PRESENT: CardDecline = {
  code: 'authentication_required',
  declineCode: 'authentication_required',
  adviceCode: null,
};

/**
 * Compares what Stripe reports now with what was quoted. The credit itself is never computed from Stripe's amounts.
 *
 * @param livemode the mode of the key that the intent was read with.
 */
export function judgeIntent(topUp: TopUp, intent: PaymentIntent, livemode: boolean): IntentVerdict {
  const contradictions = findContradictions(topUp, intent, livemode);
  if (contradictions.length > 0) return { kind: 'review', contradictions };
  switch (intent.status) {
    case 'succeeded':
      return { kind: 'credit' };
    case 'requires_payment_method':
    case 'canceled':
      return { kind: 'declined', decline: intent.decline };
    case 'requires_action':
      return { kind: 'declined', decline: intent.decline ?? NO_CUSTOMER_PRESENT };
    default:
      // `processing`, and every status that Stripe may add, are checked again later.
      return { kind: 'wait' };
  }
}

function findContradictions(topUp: TopUp, intent: PaymentIntent, livemode: boolean): string[] {
  const { amountReceivedCents: received } = intent;
  const checks: readonly (readonly [agrees: boolean, contradiction: string])[] = [
    [topUp.kind === 'auto', `the top-up is of kind ${topUp.kind}`],
    [intent.livemode === livemode && topUp.livemode === livemode, `livemode is ${intent.livemode}`],
    [intent.topUpId === topUp.id, `metadata names ${intent.topUpId}`],
    [
      topUp.paymentIntentId === null || topUp.paymentIntentId === intent.id,
      `it is ${intent.id}, not ${topUp.paymentIntentId}`,
    ],
    [intent.customerId === topUp.customerId, `customer is ${intent.customerId}`],
    [intent.currency === 'usd', `currency is ${intent.currency}`],
    [intent.amountCents === topUp.chargeCents, `amount is ${dollars(intent.amountCents)}`],
    [
      intent.status !== 'succeeded' || received === topUp.chargeCents,
      `amount_received is ${dollars(received)}`,
    ],
  ];
  return checks.filter(([agrees]) => !agrees).map(([, contradiction]) => contradiction);
}

function dollars(amount: UsdCents | null): string {
  return amount === null ? 'missing' : formatUsd(centsToMicros(amount));
}
