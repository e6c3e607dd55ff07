import { microsToCentsExact } from '../../platform/common/money.js';
import type { LineItem, NewCheckoutSession } from '../stripe/payment-gateway.js';
import { feeShare, formatBps } from './quote.js';
import type { TopUp } from './top-up.js';

/**
 * Builds the payment page of a top-up from its row alone. When the request is repeated after a crash, Stripe gets the
 * same request under the same key, and answers with the same page.
 */
export function toCheckoutPage(topUp: TopUp, customerId: string): NewCheckoutSession {
  return {
    topUpId: topUp.id,
    accountId: topUp.accountId,
    customerId,
    description: 'API credit',
    lineItems: toLineItems(topUp),
    saveCard: topUp.saveCard,
    automaticTax: topUp.automaticTax,
    successUrl: topUp.successUrl,
    cancelUrl: topUp.cancelUrl,
    expiresAtMs: topUp.expiresAt.getTime(),
  };
}

/** Credit and fee are separate lines, on the page and on the invoice. They are whole cents, because the quote is. */
function toLineItems(topUp: TopUp): LineItem[] {
  const creditCents = microsToCentsExact(topUp.creditMicros);
  const feeCents = microsToCentsExact(topUp.feeMicros);
  const credit = { name: 'API credit', amountCents: creditCents };
  if (feeCents === 0n) return [credit];
  // The minimum fee is not a percentage, so its line must not name one.
  const isShare =
    feeCents === feeShare(topUp.feeMode === 'on_top' ? creditCents : topUp.chargeCents, topUp.feeBps);
  const name = isShare ? `Platform fee (${formatBps(topUp.feeBps)})` : 'Platform fee';
  return [credit, { name, amountCents: feeCents }];
}
