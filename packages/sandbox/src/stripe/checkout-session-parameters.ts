import {
  boolean,
  choice,
  currency,
  email,
  emptyable,
  hash,
  integer,
  list,
  metadata,
  notSimulated,
  offSwitch,
  optional,
  text,
  timeRange,
  timestamp,
  url,
  type ValuesOf,
} from './parameter-schema.js';
import { listParameters } from './lists.js';

/** $999,999.99: Stripe's largest amount with two decimals. */
export const AMOUNT_MAX_CENTS = 99_999_999;
const LINE_ITEMS_MAX = 100;
const QUANTITY_MAX = 999_999;

const productData = hash({
  description: optional(text()),
  images: optional(list(url(), 8)),
  metadata: optional(metadata()),
  name: text(250),
  tax_code: optional(text(20)),
  tax_details: notSimulated,
  unit_label: optional(text(12)),
});

const priceData = hash({
  currency: currency(),
  product: notSimulated,
  product_data: productData,
  recurring: notSimulated,
  tax_behavior: optional(choice(['exclusive', 'inclusive', 'unspecified'])),
  unit_amount: integer(0, AMOUNT_MAX_CENTS),
  unit_amount_decimal: notSimulated,
});

const lineItem = hash({
  adjustable_quantity: notSimulated,
  metadata: optional(metadata()),
  price: notSimulated,
  price_data: priceData,
  quantity: integer(1, QUANTITY_MAX),
  tax_rates: notSimulated,
});

const invoiceData = hash({
  account_tax_ids: notSimulated,
  custom_fields: notSimulated,
  description: optional(text(1_500)),
  footer: optional(text()),
  issuer: notSimulated,
  metadata: optional(metadata()),
  rendering_options: notSimulated,
});

const customerUpdate = hash({
  address: optional(choice(['auto', 'never'])),
  name: optional(choice(['auto', 'never'])),
  shipping: notSimulated,
});

const paymentIntentData = hash({
  application_fee_amount: notSimulated,
  capture_method: notSimulated,
  description: optional(text(1_000)),
  metadata: optional(metadata()),
  on_behalf_of: notSimulated,
  receipt_email: optional(email()),
  setup_future_usage: optional(choice(['off_session', 'on_session'])),
  shipping: notSimulated,
  statement_descriptor: optional(text(22)),
  statement_descriptor_suffix: optional(text(22)),
  transfer_data: notSimulated,
  transfer_group: notSimulated,
});

/**
 * `POST /v1/checkout/sessions`. `payment_method_types` is missing on purpose: Stripe removed it from
 * creation in 2026-09-30.endive and refuses it as unknown.
 */
export const createSessionParameters = {
  adaptive_pricing: optional(hash({ enabled: optional(boolean()) })),
  after_expiration: notSimulated,
  allow_promotion_codes: optional(offSwitch()),
  allowed_payment_method_types: notSimulated,
  automatic_tax: optional(hash({ enabled: boolean(), liability: notSimulated })),
  billing_address_collection: optional(choice(['auto', 'required'])),
  branding_settings: notSimulated,
  cancel_url: optional(url()),
  client_reference_id: optional(text(200)),
  consent_collection: notSimulated,
  currency: optional(currency()),
  custom_fields: notSimulated,
  custom_text: notSimulated,
  customer: optional(text()),
  customer_account: notSimulated,
  customer_creation: optional(choice(['if_required'], ['always'])),
  customer_email: optional(email()),
  customer_update: optional(customerUpdate),
  discounts: notSimulated,
  excluded_payment_method_types: notSimulated,
  expires_at: optional(timestamp()),
  integration_identifier: optional(text(200)),
  invoice_creation: optional(hash({ enabled: boolean(), invoice_data: optional(invoiceData) })),
  line_items: list(lineItem, LINE_ITEMS_MAX),
  locale: optional(text(10)),
  managed_payments: optional(hash({ enabled: optional(offSwitch()) })),
  metadata: optional(emptyable(metadata())),
  mode: choice(['payment'], ['setup', 'subscription']),
  name_collection: notSimulated,
  optional_items: notSimulated,
  origin_context: notSimulated,
  payment_intent_data: optional(paymentIntentData),
  payment_method_collection: notSimulated,
  payment_method_configuration: notSimulated,
  payment_method_data: notSimulated,
  payment_method_options: notSimulated,
  permissions: notSimulated,
  phone_number_collection: optional(hash({ enabled: offSwitch() })),
  redirect_on_completion: notSimulated,
  return_url: notSimulated,
  saved_payment_method_options: notSimulated,
  setup_intent_data: notSimulated,
  shipping_address_collection: notSimulated,
  shipping_options: notSimulated,
  submit_type: optional(choice(['auto', 'pay'], ['book', 'donate', 'subscribe'])),
  subscription_data: notSimulated,
  success_url: url(),
  tax_id_collection: notSimulated,
  ui_mode: optional(choice(['hosted_page'], ['embedded_page', 'elements', 'form'])),
  wallet_options: notSimulated,
};

export type CreateSessionValues = ValuesOf<typeof createSessionParameters>;
export type LineItemValues = CreateSessionValues['line_items'][number];

/** `GET /v1/checkout/sessions`. */
export const listSessionsParameters = {
  ...listParameters,
  created: optional(timeRange()),
  customer: optional(text()),
  customer_account: notSimulated,
  customer_details: optional(hash({ email: email() })),
  payment_intent: optional(text()),
  payment_link: notSimulated,
  status: optional(choice(['complete', 'expired', 'open'])),
  subscription: notSimulated,
};
