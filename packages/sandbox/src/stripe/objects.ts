/**
 * The shapes that the simulator answers: every member that Stripe's API 2026-10-28.endive always sends
 * (a test compares them with the SDK's types), typed as narrowly as the simulator uses them.
 */
export const API_VERSION = '2026-10-28.endive';

export type Metadata = Readonly<Record<string, string>>;

/** Anything with an id that an event, a list or an expansion can carry. */
export type StripeObject = {
  readonly id: string;
  readonly object: string;
  readonly [member: string]: unknown;
};

export type StripeList = {
  readonly object: 'list';
  readonly url: string;
  readonly has_more: boolean;
  readonly data: readonly StripeObject[];
};

export type Address = {
  readonly city: string;
  readonly country: string;
  readonly line1: string;
  readonly line2: null;
  readonly postal_code: string;
  readonly state: string;
};

export type Customer = {
  readonly id: string;
  readonly object: 'customer';
  readonly address: Address | null;
  readonly balance: 0;
  readonly created: number;
  readonly currency: null;
  readonly customer_account: null;
  readonly default_source: null;
  readonly delinquent: false;
  readonly description: string | null;
  readonly discount: null;
  readonly email: string | null;
  readonly invoice_prefix: string;
  readonly invoice_settings: {
    readonly custom_fields: null;
    readonly default_payment_method: null;
    readonly footer: null;
    readonly rendering_options: null;
  };
  readonly livemode: boolean;
  readonly metadata: Metadata;
  readonly name: string | null;
  readonly next_invoice_sequence: 1;
  readonly phone: string | null;
  readonly preferred_locales: readonly string[];
  readonly shipping: null;
  readonly tax_exempt: 'none';
  readonly test_clock: null;
};

export type LineItem = {
  readonly id: string;
  readonly object: 'item';
  readonly adjustable_quantity: null;
  readonly amount_discount: 0;
  readonly amount_subtotal: number;
  readonly amount_tax: number;
  readonly amount_total: number;
  readonly currency: string;
  readonly description: string;
  readonly metadata: Metadata;
  readonly price: StripeObject;
  readonly quantity: number;
};

export type PaymentIntentStatus = 'canceled' | 'requires_action' | 'requires_payment_method' | 'succeeded';

export type PaymentIntent = {
  readonly id: string;
  readonly object: 'payment_intent';
  readonly allowed_payment_method_types: null;
  readonly amount: number;
  readonly amount_capturable: 0;
  readonly amount_details: { readonly tip: Readonly<Record<string, never>> };
  readonly amount_received: number;
  readonly application: null;
  readonly application_fee_amount: null;
  readonly automatic_payment_methods: { readonly allow_redirects: string; readonly enabled: boolean } | null;
  readonly canceled_at: number | null;
  readonly cancellation_reason: string | null;
  readonly capture_method: 'automatic_async';
  readonly client_secret: string;
  readonly confirmation_method: 'automatic';
  readonly created: number;
  readonly currency: string;
  readonly customer: string | null;
  readonly customer_account: null;
  readonly description: string | null;
  readonly excluded_payment_method_types: null;
  readonly last_payment_error: Readonly<Record<string, unknown>> | null;
  readonly latest_charge: string | null;
  readonly livemode: boolean;
  readonly managed_payments: null;
  readonly metadata: Metadata;
  readonly next_action: Readonly<Record<string, unknown>> | null;
  readonly on_behalf_of: null;
  readonly payment_method: string | null;
  readonly payment_method_configuration_details: null;
  readonly payment_method_options: Readonly<Record<string, unknown>>;
  readonly payment_method_types: readonly string[];
  readonly payment_record: null;
  readonly processing: null;
  readonly receipt_email: string | null;
  readonly review: null;
  readonly setup_future_usage: 'off_session' | 'on_session' | null;
  readonly shipping: null;
  readonly source: null;
  readonly statement_descriptor: string | null;
  readonly statement_descriptor_suffix: string | null;
  readonly status: PaymentIntentStatus;
  readonly transfer_data: null;
  readonly transfer_group: null;
};

export type Charge = {
  readonly id: string;
  readonly object: 'charge';
  readonly amount: number;
  readonly amount_captured: number;
  readonly amount_refunded: number;
  readonly application: null;
  readonly application_fee: null;
  readonly application_fee_amount: null;
  readonly balance_transaction: string | null;
  readonly billing_details: Readonly<Record<string, unknown>>;
  readonly calculated_statement_descriptor: string;
  readonly captured: boolean;
  readonly created: number;
  readonly currency: string;
  readonly customer: string | null;
  readonly description: string | null;
  readonly disputed: boolean;
  readonly failure_balance_transaction: null;
  readonly failure_code: string | null;
  readonly failure_message: string | null;
  readonly fraud_details: Readonly<Record<string, string>>;
  readonly livemode: boolean;
  readonly metadata: Metadata;
  readonly on_behalf_of: null;
  readonly outcome: Readonly<Record<string, unknown>>;
  readonly paid: boolean;
  readonly payment_intent: string;
  readonly payment_method: string;
  readonly payment_method_details: Readonly<Record<string, unknown>>;
  readonly receipt_email: string | null;
  readonly receipt_number: null;
  readonly receipt_url: string | null;
  readonly refunded: boolean;
  readonly review: null;
  readonly shipping: null;
  readonly source: null;
  readonly source_transfer: null;
  readonly statement_descriptor: string | null;
  readonly statement_descriptor_suffix: string | null;
  readonly status: 'failed' | 'succeeded';
  readonly transfer_data: null;
  readonly transfer_group: null;
};

export type PaymentMethod = {
  readonly id: string;
  readonly object: 'payment_method';
  readonly allow_redisplay: 'limited' | 'unspecified';
  readonly billing_details: Readonly<Record<string, unknown>>;
  readonly card: Readonly<Record<string, unknown>>;
  readonly created: number;
  readonly customer: string | null;
  readonly customer_account: null;
  readonly livemode: boolean;
  readonly metadata: Metadata;
  readonly type: 'card';
};

/** What can move the Stripe balance here. A dispute is an `adjustment`; its `reporting_category` distinguishes it from others. */
export type BalanceTransactionType =
  'adjustment' | 'charge' | 'payout' | 'payout_failure' | 'refund' | 'refund_failure';

export type BalanceTransaction = {
  readonly id: string;
  readonly object: 'balance_transaction';
  readonly amount: number;
  readonly available_on: number;
  readonly balance_type: 'payments';
  readonly created: number;
  readonly currency: string;
  readonly description: string | null;
  readonly exchange_rate: null;
  readonly fee: number;
  readonly fee_details: readonly Readonly<Record<string, unknown>>[];
  readonly net: number;
  readonly reporting_category: string;
  readonly source: string;
  readonly status: 'available' | 'pending';
  readonly type: BalanceTransactionType;
};

/** A paid invoice as Checkout's `invoice_creation` makes it; nothing else makes invoices here. */
export type Invoice = StripeObject & {
  readonly object: 'invoice';
  readonly hosted_invoice_url: string;
  readonly invoice_pdf: string;
  readonly metadata: Metadata;
  readonly number: string;
  readonly total: number;
};

export type Event = {
  readonly id: string;
  readonly object: 'event';
  readonly api_version: string;
  readonly created: number;
  readonly data: {
    readonly object: Readonly<Record<string, unknown>>;
    /** What the members that changed were before; only on events that announce a change. */
    readonly previous_attributes?: Readonly<Record<string, unknown>>;
  };
  readonly livemode: boolean;
  readonly pending_webhooks: number;
  readonly request: { readonly id: string | null; readonly idempotency_key: string | null };
  readonly type: string;
};

export type WebhookEndpoint = {
  readonly id: string;
  readonly object: 'webhook_endpoint';
  readonly api_version: string;
  readonly application: null;
  readonly created: number;
  readonly description: string | null;
  readonly enabled_events: readonly string[];
  readonly livemode: boolean;
  readonly metadata: Metadata;
  readonly status: 'enabled';
  readonly url: string;
};

export type CheckoutSession = {
  readonly id: string;
  readonly object: 'checkout.session';
  readonly adaptive_pricing: { readonly enabled: boolean };
  readonly after_expiration: null;
  readonly allow_promotion_codes: false | null;
  readonly allowed_payment_method_types: null;
  readonly amount_subtotal: number;
  readonly amount_total: number;
  readonly automatic_tax: {
    readonly enabled: boolean;
    readonly liability: { readonly type: 'self' } | null;
    readonly provider: 'stripe' | null;
    readonly status: 'complete' | 'requires_location_inputs' | null;
  };
  readonly billing_address_collection: 'auto' | 'required' | null;
  readonly cancel_url: string | null;
  readonly client_reference_id: string | null;
  readonly client_secret: null;
  readonly collected_information: null;
  readonly consent: null;
  readonly consent_collection: null;
  readonly created: number;
  readonly currency: string;
  readonly currency_conversion: null;
  readonly custom_fields: readonly never[];
  readonly custom_text: Readonly<Record<string, null>>;
  readonly customer: string | null;
  readonly customer_account: null;
  readonly customer_creation: 'if_required' | null;
  readonly customer_details: Readonly<Record<string, unknown>> | null;
  readonly customer_email: string | null;
  readonly discounts: readonly never[];
  readonly expires_at: number;
  readonly integration_identifier: string | null;
  readonly invoice: string | null;
  readonly invoice_creation: Readonly<Record<string, unknown>>;
  readonly livemode: boolean;
  readonly locale: string | null;
  readonly managed_payments: { readonly enabled: false };
  readonly metadata: Metadata;
  readonly mode: 'payment';
  readonly origin_context: null;
  readonly payment_intent: string | null;
  readonly payment_link: null;
  readonly payment_method_collection: 'if_required';
  readonly payment_method_configuration_details: null;
  readonly payment_method_options: Readonly<Record<string, unknown>>;
  readonly payment_method_types: readonly string[];
  readonly payment_status: 'paid' | 'unpaid';
  readonly permissions: null;
  readonly phone_number_collection: { readonly enabled: false };
  readonly recovered_from: null;
  readonly saved_payment_method_options: null;
  readonly setup_intent: null;
  readonly shipping_address_collection: null;
  readonly shipping_cost: null;
  readonly shipping_options: readonly never[];
  readonly status: 'complete' | 'expired' | 'open';
  readonly submit_type: string | null;
  readonly subscription: null;
  readonly success_url: string;
  readonly total_details: {
    readonly amount_discount: 0;
    readonly amount_shipping: 0;
    readonly amount_tax: number;
  };
  readonly ui_mode: 'hosted_page';
  readonly url: string | null;
  readonly wallet_options: null;
};
