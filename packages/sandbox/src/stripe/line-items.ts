import type { StripeList } from './objects.js';
import type { CheckoutSessionRecord } from './store.js';

/** The list that `expand[]=line_items` includes: its first page. */
export function lineItemList(record: CheckoutSessionRecord): StripeList {
  const pageSize = 10;
  return {
    object: 'list',
    url: `/v1/checkout/sessions/${record.id}/line_items`,
    has_more: record.lineItems.length > pageSize,
    data: record.lineItems.slice(0, pageSize),
  };
}
