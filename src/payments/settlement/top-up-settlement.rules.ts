import { centsToMicros, formatUsd, type UsdCents } from '../../platform/common/money.js';
import { METADATA_TOP_UP, type CheckoutSession } from '../stripe/payment-gateway.js';
import type { TopUp, TopUpFailure } from '../top-ups/top-up.js';

/** It is not paid; its row follows what Stripe reports. */
export type MoveVerdict =
  | { readonly kind: 'move'; readonly to: 'pending' | 'processing' | 'expired' }
  | { readonly kind: 'move'; readonly to: 'failed'; readonly failure: TopUpFailure };

/** What a Checkout Session means for its top-up. */
export type Verdict =
  /** It is paid, and everything that Stripe reports agrees with the quote. */
  | { readonly kind: 'credit' }
  | MoveVerdict
  /** Stripe's record contradicts ours. Nothing is credited until an operator has decided. */
  | { readonly kind: 'review'; readonly contradictions: readonly string[] };

/** A PaymentIntent in one of these statuses is not paid unless the customer pays again. */
const LOST_INTENTS: ReadonlySet<string> = new Set(['requires_payment_method', 'canceled']);

/**
 * Compares what Stripe reports now with the quote. The credit itself is never computed from Stripe's amounts; they
 * only have to agree with it.
 *
 * @param livemode the mode of the key that the session was read with.
 */
export function judge(topUp: TopUp, session: CheckoutSession, livemode: boolean): Verdict {
  const contradictions = findContradictions(topUp, session, livemode);
  if (contradictions.length > 0) return { kind: 'review', contradictions };
  if (session.status === 'open') return { kind: 'move', to: 'pending' };
  if (session.status === 'expired') return { kind: 'move', to: 'expired' };
  if (session.paymentStatus === 'paid') return { kind: 'credit' };
  if (LOST_INTENTS.has(session.paymentIntentStatus ?? '')) {
    return { kind: 'move', to: 'failed', failure: 'payment_failed' };
  }
  return { kind: 'move', to: 'processing' };
}

function findContradictions(topUp: TopUp, session: CheckoutSession, livemode: boolean): string[] {
  const { status, paymentStatus } = session;
  // Tax is the one amount that only Stripe knows. It buys no credit, and it has to be zero where no tax was requested.
  const taxCents = topUp.automaticTax ? (session.amountTaxCents ?? 0n) : 0n;
  const checks: readonly (readonly [agrees: boolean, contradiction: string])[] = [
    [session.livemode === livemode && topUp.livemode === livemode, `livemode is ${session.livemode}`],
    [session.clientReferenceId === topUp.id, `client_reference_id is ${session.clientReferenceId}`],
    [session.metadata[METADATA_TOP_UP] === topUp.id, `metadata names ${session.metadata[METADATA_TOP_UP]}`],
    [
      topUp.checkoutSessionId === null || topUp.checkoutSessionId === session.id,
      `it is ${session.id}, not ${topUp.checkoutSessionId}`,
    ],
    [session.currency === 'usd', `currency is ${session.currency}`],
    [
      session.amountSubtotalCents === topUp.chargeCents,
      `amount_subtotal is ${dollars(session.amountSubtotalCents)}`,
    ],
    [
      session.amountTotalCents === topUp.chargeCents + taxCents,
      `amount_total is ${dollars(session.amountTotalCents)}${topUp.automaticTax ? `, with ${dollars(session.amountTaxCents)} of tax` : ''}`,
    ],
    [taxCents >= 0n, `amount_tax is ${dollars(session.amountTaxCents)}`],
    [
      session.automaticTax === topUp.automaticTax,
      `automatic tax is ${session.automaticTax ? 'on' : 'off'}, not as requested`,
    ],
    [
      !topUp.automaticTax || paymentStatus !== 'paid' || session.automaticTaxStatus === 'complete',
      `it is paid, and its tax is ${session.automaticTaxStatus}`,
    ],
    [status === 'open' || status === 'complete' || status === 'expired', `status is ${status}`],
    [paymentStatus === 'paid' || paymentStatus === 'unpaid', `payment_status is ${paymentStatus}`],
    [paymentStatus !== 'paid' || status === 'complete', `payment_status is paid and status is ${status}`],
  ];
  return checks.filter(([agrees]) => !agrees).map(([, contradiction]) => contradiction);
}

function dollars(amount: UsdCents | null): string {
  return amount === null ? 'missing' : formatUsd(centsToMicros(amount));
}
