import { nowSeconds, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import type { CheckoutSession, Invoice, LineItem, Metadata, StripeObject } from './objects.js';
import { operation, type Operation } from './operation.js';
import type { CheckoutSessionRecord } from './store.js';

/** Members that Stripe always sends and that stay null here. */
const NULL_MEMBERS = {
  account_tax_ids: null,
  application: null,
  automatically_finalizes_at: null,
  custom_fields: null,
  customer_account: null,
  customer_phone: null,
  customer_shipping: null,
  default_payment_method: null,
  default_source: null,
  description: null,
  due_date: null,
  footer: null,
  from_invoice: null,
  last_finalization_error: null,
  latest_revision: null,
  next_payment_attempt: null,
  on_behalf_of: null,
  parent: null,
  receipt_number: null,
  rendering: null,
  shipping_cost: null,
  shipping_details: null,
  statement_descriptor: null,
  test_clock: null,
  webhooks_delivered_at: null,
} as const;

/** The invoice of a session that was just paid. */
export function invoiceOf(context: SandboxContext, record: CheckoutSessionRecord): Invoice {
  const { object: session } = record;
  const id = stripeId('in');
  const now = nowSeconds(context);
  const customer = context.store.customers.get(session.customer ?? '');
  const invoice: Invoice = {
    ...NULL_MEMBERS,
    ...amountsOf(session),
    id,
    object: 'invoice',
    account_country: 'US',
    account_name: 'Coffer Sandbox',
    attempt_count: 1,
    attempted: true,
    auto_advance: false,
    automatic_tax: { disabled_reason: null, ...session.automatic_tax },
    billing_reason: 'manual',
    collection_method: 'charge_automatically',
    created: now,
    currency: session.currency,
    customer: session.customer,
    customer_address: customer?.address ?? null,
    customer_email: customer?.email ?? null,
    customer_name: customer?.name ?? null,
    customer_tax_exempt: 'none',
    default_tax_rates: [],
    discounts: [],
    effective_at: now,
    ending_balance: 0,
    hosted_invoice_url: receiptPageUrl(context, id),
    invoice_pdf: `${receiptPageUrl(context, id)}?format=pdf`,
    issuer: { type: 'self' },
    lines: {
      object: 'list',
      url: `/v1/invoices/${id}/lines`,
      has_more: false,
      data: record.lineItems.map((item) => lineOf(item, id, now)),
    },
    livemode: false,
    metadata: invoiceMetadata(session),
    number: `SANDBOX-${id.slice(-8).toUpperCase()}`,
    payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
    period_end: now,
    period_start: now,
    starting_balance: 0,
    status: 'paid',
    status_transitions: { finalized_at: now, marked_uncollectible_at: null, paid_at: now, voided_at: null },
  };
  context.store.invoices.put(invoice);
  return invoice;
}

function amountsOf(session: CheckoutSession) {
  const { amount_subtotal: subtotal, amount_total: total, total_details: details } = session;
  return {
    amount_due: total,
    amount_overpaid: 0,
    amount_paid: total,
    amount_remaining: 0,
    amount_shipping: 0,
    post_payment_credit_notes_amount: 0,
    pre_payment_credit_notes_amount: 0,
    subtotal,
    subtotal_excluding_tax: subtotal,
    total,
    total_discount_amounts: [],
    total_excluding_tax: subtotal,
    total_pretax_credit_amounts: [],
    total_taxes:
      details.amount_tax === 0
        ? []
        : [
            {
              amount: details.amount_tax,
              tax_behavior: 'exclusive',
              tax_rate_details: null,
              taxability_reason: 'standard_rated',
              taxable_amount: subtotal,
              type: 'tax_rate_details',
            },
          ],
  };
}

function lineOf(item: LineItem, invoiceId: string, now: number): StripeObject {
  return {
    id: stripeId('il'),
    object: 'line_item',
    amount: item.amount_subtotal,
    currency: item.currency,
    description: item.description,
    discount_amounts: [],
    discountable: true,
    discounts: [],
    invoice: invoiceId,
    livemode: false,
    metadata: item.metadata,
    parent: null,
    period: { end: now, start: now },
    pretax_credit_amounts: [],
    pricing: null,
    quantity: item.quantity,
    quantity_decimal: String(item.quantity),
    subscription: null,
    subtotal: item.amount_subtotal,
    taxes: [],
  };
}

function invoiceMetadata(session: CheckoutSession): Metadata {
  const data = session.invoice_creation['invoice_data'] as { readonly metadata: Metadata };
  return data.metadata;
}

/** Where a person sees what was paid: of an invoice, or of a charge. */
export function receiptPageUrl(context: SandboxContext, id: string): string {
  return `${context.baseUrl()}/c/receipt/${id}`;
}

export const invoiceOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/invoices/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const invoice = context.store.invoices.get(id);
      if (invoice === undefined) throw resourceMissing('invoice', id, 'invoice', 404);
      return invoice;
    },
  }),
];
