import { microsToCentsExact } from '../common/money.js';
import type { LineItem, NewCheckoutSession } from '../payments/payment-gateway.js';
import { formatBps } from './quote.js';
import type { TopUp } from './top-up.js';

/**
 * The payment page of a top-up: a pure function of its row. Asked again after a crash, Stripe gets the very
 * same request under the same key, and answers with the same page.
 */
export function checkoutPageOf(topUp: TopUp, customerId: string): NewCheckoutSession {
  return {
    topUpId: topUp.id,
    accountId: topUp.accountId,
    customerId,
    description: 'API credit',
    lineItems: lineItemsOf(topUp),
    saveCard: topUp.saveCard,
    successUrl: topUp.successUrl,
    cancelUrl: topUp.cancelUrl,
    expiresAtMs: topUp.expiresAt.getTime(),
  };
}

/** Credit and fee are shown apart, here and on the invoice. Whole cents: the quote was made in them. */
function lineItemsOf({ creditMicros, feeMicros, feeBps }: TopUp): LineItem[] {
  const credit = { name: 'API credit', amountCents: microsToCentsExact(creditMicros) };
  const fee = { name: `Platform fee (${formatBps(feeBps)})`, amountCents: microsToCentsExact(feeMicros) };
  return feeMicros === 0n ? [credit] : [credit, fee];
}
