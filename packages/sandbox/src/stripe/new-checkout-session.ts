import {
  AMOUNT_MAX_CENTS,
  type CreateSessionValues,
  type LineItemValues,
} from './checkout-session-parameters.js';
import { nowSeconds, type SandboxContext } from './context.js';
import { requireCustomer } from './customers.js';
import { invalidRequest } from './errors.js';
import { checkoutSessionId, stripeId } from './ids.js';
import type { CheckoutSession, LineItem } from './objects.js';
import type { CheckoutSessionRecord, PaymentIntentData } from './store.js';
import { automaticTaxOf } from './tax.js';

/** Stripe's smallest charge in US dollars. */
export const AMOUNT_MIN_CENTS = 50;
const EXPIRY_MIN_SECONDS = 30 * 60;
const EXPIRY_MAX_SECONDS = 24 * 60 * 60;

export function newCheckoutSession(
  context: SandboxContext,
  params: CreateSessionValues,
): CheckoutSessionRecord {
  assertCustomer(context, params);
  const created = nowSeconds(context);
  const lineItems = params.line_items.map((values) => newLineItem(values, created));
  const total = lineItems.reduce((sum, item) => sum + item.amount_total, 0);
  assertTotal(total);
  const id = checkoutSessionId();
  return {
    id,
    object: { ...newObject(context, params, id, created), amount_subtotal: total, amount_total: total },
    lineItems,
    paymentIntentData: paymentIntentDataOf(params),
    keepsAddress: params.customer_update?.address === 'auto',
  };
}

/** Members that Stripe always sends and that stay null here, or null until the session is paid. */
const NULL_MEMBERS = {
  after_expiration: null,
  allowed_payment_method_types: null,
  client_secret: null,
  collected_information: null,
  consent: null,
  consent_collection: null,
  currency_conversion: null,
  customer_account: null,
  customer_details: null,
  invoice: null,
  origin_context: null,
  payment_intent: null,
  payment_link: null,
  payment_method_configuration_details: null,
  permissions: null,
  recovered_from: null,
  saved_payment_method_options: null,
  setup_intent: null,
  shipping_address_collection: null,
  shipping_cost: null,
  subscription: null,
  wallet_options: null,
} as const;

function newObject(
  context: SandboxContext,
  params: CreateSessionValues,
  id: string,
  created: number,
): CheckoutSession {
  return {
    ...NULL_MEMBERS,
    id,
    object: 'checkout.session',
    adaptive_pricing: { enabled: params.adaptive_pricing?.enabled ?? false },
    allow_promotion_codes: params.allow_promotion_codes ?? null,
    amount_subtotal: 0,
    amount_total: 0,
    automatic_tax: automaticTaxOf(context, params),
    billing_address_collection: params.billing_address_collection ?? null,
    cancel_url: params.cancel_url ?? null,
    client_reference_id: params.client_reference_id ?? null,
    created,
    currency: 'usd',
    custom_fields: [],
    custom_text: {
      after_submit: null,
      shipping_address: null,
      submit: null,
      terms_of_service_acceptance: null,
    },
    customer: params.customer ?? null,
    customer_creation: params.customer === undefined ? 'if_required' : null,
    customer_email: params.customer_email ?? null,
    discounts: [],
    expires_at: expiryOf(params.expires_at, created),
    integration_identifier: params.integration_identifier ?? null,
    invoice_creation: invoiceCreationOf(params),
    livemode: false,
    locale: params.locale ?? null,
    managed_payments: { enabled: false },
    metadata: params.metadata ?? {},
    mode: 'payment',
    payment_method_collection: 'if_required',
    payment_method_options: { card: { request_three_d_secure: 'automatic' } },
    payment_method_types: ['card'],
    payment_status: 'unpaid',
    phone_number_collection: { enabled: false },
    shipping_options: [],
    status: 'open',
    submit_type: params.submit_type ?? null,
    success_url: params.success_url,
    total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
    ui_mode: 'hosted_page',
    url: paymentPageUrl(context, id),
  };
}

export function paymentPageUrl(context: SandboxContext, sessionId: string): string {
  return `${context.baseUrl()}/c/pay/${sessionId}`;
}

function assertCustomer(context: SandboxContext, params: CreateSessionValues): void {
  if (params.customer === undefined) return;
  if (params.customer_email !== undefined) throw onlyOneOf('customer', 'customer_email');
  if (params.customer_creation !== undefined) throw onlyOneOf('customer', 'customer_creation');
  requireCustomer(context, params.customer, 'customer');
}

function onlyOneOf(...names: readonly [string, string]): Error {
  return invalidRequest(`You may only specify one of these parameters: ${names.join(', ')}.`, {
    param: names[1],
  });
}

function assertTotal(totalCents: number): void {
  if (totalCents < AMOUNT_MIN_CENTS) {
    throw invalidRequest("The Checkout Session's total amount due must add up to at least $0.50 usd", {
      code: 'amount_too_small',
      param: 'line_items',
    });
  }
  if (totalCents > AMOUNT_MAX_CENTS) {
    throw invalidRequest("The Checkout Session's total amount due must be no more than $999,999.99", {
      code: 'amount_too_large',
      param: 'line_items',
    });
  }
}

function expiryOf(asked: number | undefined, created: number): number {
  const expiresAt = asked ?? created + EXPIRY_MAX_SECONDS;
  if (expiresAt < created + EXPIRY_MIN_SECONDS) {
    throw invalidRequest(
      'The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.',
      {
        param: 'expires_at',
      },
    );
  }
  if (expiresAt <= created + EXPIRY_MAX_SECONDS) return expiresAt;
  throw invalidRequest(
    'The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.',
    {
      param: 'expires_at',
    },
  );
}

function invoiceCreationOf(params: CreateSessionValues): CheckoutSession['invoice_creation'] {
  const data = params.invoice_creation?.invoice_data;
  return {
    enabled: params.invoice_creation?.enabled ?? false,
    invoice_data: {
      account_tax_ids: null,
      custom_fields: null,
      description: data?.description ?? null,
      footer: data?.footer ?? null,
      issuer: null,
      metadata: data?.metadata ?? {},
      rendering_options: null,
    },
  };
}

function paymentIntentDataOf(params: CreateSessionValues): PaymentIntentData {
  const data = params.payment_intent_data;
  return {
    description: data?.description ?? null,
    metadata: data?.metadata ?? {},
    receiptEmail: data?.receipt_email ?? null,
    setupFutureUsage: data?.setup_future_usage ?? null,
    statementDescriptor: data?.statement_descriptor ?? null,
    statementDescriptorSuffix: data?.statement_descriptor_suffix ?? null,
  };
}

function newLineItem(values: LineItemValues, created: number): LineItem {
  const { price_data: priceData, quantity } = values;
  const amountCents = priceData.unit_amount * quantity;
  return {
    id: stripeId('li'),
    object: 'item',
    adjustable_quantity: null,
    amount_discount: 0,
    amount_subtotal: amountCents,
    amount_tax: 0,
    amount_total: amountCents,
    currency: priceData.currency,
    description: priceData.product_data.name,
    metadata: values.metadata ?? {},
    price: {
      id: stripeId('price'),
      object: 'price',
      active: false,
      billing_scheme: 'per_unit',
      created,
      currency: priceData.currency,
      custom_unit_amount: null,
      livemode: false,
      lookup_key: null,
      metadata: {},
      nickname: null,
      product: stripeId('prod'),
      recurring: null,
      tax_behavior: priceData.tax_behavior ?? 'unspecified',
      tiers_mode: null,
      transform_quantity: null,
      type: 'one_time',
      unit_amount: priceData.unit_amount,
      unit_amount_decimal: String(priceData.unit_amount),
    },
    quantity,
  };
}
