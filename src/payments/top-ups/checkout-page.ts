import { microsToCentsExact } from '../../platform/common/money.js';
import type { LineItem, NewCheckoutSession } from '../stripe/payment-gateway.js';
import { feeShare, formatBps } from './quote.js';
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
    automaticTax: topUp.automaticTax,
    successUrl: topUp.successUrl,
    cancelUrl: topUp.cancelUrl,
    expiresAtMs: topUp.expiresAt.getTime(),
  };
}

/** Credit and fee are shown apart, here and on the invoice. Whole cents: the quote was made in them. */
function lineItemsOf(topUp: TopUp): LineItem[] {
  const creditCents = microsToCentsExact(topUp.creditMicros);
  const feeCents = microsToCentsExact(topUp.feeMicros);
  const credit = { name: 'API credit', amountCents: creditCents };
  if (feeCents === 0n) return [credit];
  // The minimum fee is no percentage, and must not be called one.
  const isShare =
    feeCents === feeShare(topUp.feeMode === 'on_top' ? creditCents : topUp.chargeCents, topUp.feeBps);
  const name = isShare ? `Platform fee (${formatBps(topUp.feeBps)})` : 'Platform fee';
  return [credit, { name, amountCents: feeCents }];
}
