import { cents } from '../../common/money.js';
import {
  AMOUNT_MAX_CENTS,
  createSessionParameters,
  listSessionsParameters,
  type CreateSessionValues,
  type LineItemValues,
} from './checkout-session-parameters.js';
import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { requireCustomer } from './customers.js';
import { emitEvent } from './events.js';
import { invalidRequest, resourceMissing } from './errors.js';
import { checkoutSessionId, stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { CheckoutSession, LineItem } from './objects.js';
import { operation, type Operation } from './operation.js';
import { cancelPaymentIntent } from './payment-intents.js';
import type { CheckoutSessionRecord, PaymentIntentData } from './store.js';

/** Stripe's smallest charge in US dollars. */
const AMOUNT_MIN_CENTS = 50;
const EXPIRY_MIN_SECONDS = 30 * 60;
const EXPIRY_MAX_SECONDS = 24 * 60 * 60;

export function findSession(context: SandboxContext, id: string): CheckoutSessionRecord | null {
  expireOverdue(context);
  return context.store.checkoutSessions.get(id) ?? null;
}

function requireSession(context: SandboxContext, id: string): CheckoutSessionRecord {
  const record = findSession(context, id);
  if (record === null) throw resourceMissing('checkout.session', id, 'session', 404);
  return record;
}

/** Replaces the public object and keeps the rest. */
export function putSession(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  changes: Partial<CheckoutSession>,
): CheckoutSessionRecord {
  const changed = { ...record, object: { ...record.object, ...changes } };
  context.store.checkoutSessions.put(changed);
  return changed;
}

/** Expires an open session: nobody can pay it any more, and a begun payment is canceled. */
export function expireSession(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  cause: Cause,
): CheckoutSessionRecord {
  const expired = putSession(context, record, { status: 'expired', url: null });
  if (record.object.payment_intent !== null) cancelPaymentIntent(context, record.object.payment_intent, cause);
  emitEvent(context, 'checkout.session.expired', expired.object, cause);
  return expired;
}

const NOBODY: Cause = { requestId: null, idempotencyKey: null };

/** Answers how many sessions ran out of time since the last look. */
export function expireOverdue(context: SandboxContext): number {
  const now = nowSeconds(context);
  const overdue = context.store.checkoutSessions
    .oldestFirst()
    .filter(({ object }) => object.status === 'open' && object.expires_at <= now);
  for (const record of overdue) expireSession(context, record, NOBODY);
  return overdue.length;
}

export const checkoutSessionOperations: readonly Operation[] = [
  operation({
    method: 'POST',
    path: '/v1/checkout/sessions',
    parameters: createSessionParameters,
    run: (context, params) => {
      const record = newSession(context, params);
      context.store.checkoutSessions.put(record);
      return record.object;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/checkout/sessions/:id',
    parameters: {},
    run: (context, _params, { id }) => requireSession(context, id).object,
  }),
  operation({
    method: 'GET',
    path: '/v1/checkout/sessions',
    parameters: listSessionsParameters,
    run: (context, params) => {
      expireOverdue(context);
      const sessions = context.store.checkoutSessions.newestFirst().map((record) => record.object);
      const { created, customer, customer_details: details, payment_intent: paymentIntent, status } = params;
      const wanted = sessions.filter((session) => {
        if (created !== undefined && !(session.created > created.gt && session.created < created.lt)) return false;
        if (customer !== undefined && session.customer !== customer) return false;
        if (details !== undefined && session.customer_details?.['email'] !== details.email) return false;
        if (paymentIntent !== undefined && session.payment_intent !== paymentIntent) return false;
        return status === undefined || session.status === status;
      });
      return page(wanted, params, '/v1/checkout/sessions', 'checkout.session');
    },
  }),
  operation({
    method: 'POST',
    path: '/v1/checkout/sessions/:id/expire',
    parameters: {},
    run: (context, _params, { id, cause }) => {
      const record = requireSession(context, id);
      if (record.object.status === 'open') return expireSession(context, record, cause).object;
      throw invalidRequest(
        `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ` +
          `\`${record.object.status}\`.`,
      );
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/checkout/sessions/:id/line_items',
    parameters: listParameters,
    run: (context, params, { id }) => {
      const { lineItems } = requireSession(context, id);
      return page(lineItems, params, `/v1/checkout/sessions/${id}/line_items`, 'item');
    },
  }),
];

function newSession(context: SandboxContext, params: CreateSessionValues): CheckoutSessionRecord {
  assertCustomer(context, params);
  const created = nowSeconds(context);
  const lineItems = params.line_items.map((values) => newLineItem(values, created));
  const total = lineItems.reduce((sum, item) => sum + item.amount_total, 0);
  assertTotal(total);
  const id = checkoutSessionId();
  return {
    id,
    object: { ...newSessionObject(context, params, id, created), amount_subtotal: total, amount_total: total },
    lineItems,
    paymentIntentData: paymentIntentDataOf(params),
  };
}

function newSessionObject(
  context: SandboxContext,
  params: CreateSessionValues,
  id: string,
  created: number,
): CheckoutSession {
  return {
    id,
    object: 'checkout.session',
    adaptive_pricing: { enabled: params.adaptive_pricing?.enabled ?? false },
    after_expiration: null,
    allow_promotion_codes: params.allow_promotion_codes ?? null,
    allowed_payment_method_types: null,
    amount_subtotal: 0,
    amount_total: 0,
    automatic_tax: { enabled: false, liability: null, provider: null, status: null },
    billing_address_collection: null,
    cancel_url: params.cancel_url ?? null,
    client_reference_id: params.client_reference_id ?? null,
    client_secret: null,
    collected_information: null,
    consent: null,
    consent_collection: null,
    created,
    currency: 'usd',
    currency_conversion: null,
    custom_fields: [],
    custom_text: { after_submit: null, shipping_address: null, submit: null, terms_of_service_acceptance: null },
    customer: params.customer ?? null,
    customer_account: null,
    customer_creation: params.customer === undefined ? 'if_required' : null,
    customer_details: null,
    customer_email: params.customer_email ?? null,
    discounts: [],
    expires_at: expiryOf(params.expires_at, created),
    integration_identifier: params.integration_identifier ?? null,
    invoice: null,
    invoice_creation: invoiceCreationOf(params),
    livemode: false,
    locale: params.locale ?? null,
    managed_payments: { enabled: false },
    metadata: params.metadata ?? {},
    mode: 'payment',
    origin_context: null,
    payment_intent: null,
    payment_link: null,
    payment_method_collection: 'if_required',
    payment_method_configuration_details: null,
    payment_method_options: { card: { request_three_d_secure: 'automatic' } },
    payment_method_types: ['card'],
    payment_status: 'unpaid',
    permissions: null,
    phone_number_collection: { enabled: false },
    recovered_from: null,
    saved_payment_method_options: null,
    setup_intent: null,
    shipping_address_collection: null,
    shipping_cost: null,
    shipping_options: [],
    status: 'open',
    submit_type: params.submit_type ?? null,
    subscription: null,
    success_url: params.success_url,
    total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
    ui_mode: 'hosted_page',
    url: paymentPageUrl(context, id),
    wallet_options: null,
  };
}

export function paymentPageUrl(context: SandboxContext, sessionId: string): string {
  return `${context.baseUrl()}/c/pay/${sessionId}`;
}
