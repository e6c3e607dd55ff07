import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { emitEvent } from './events.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { PaymentIntent } from './objects.js';
import { operation, type Operation } from './operation.js';
import { notSimulated, isWithin, optional, text, timeRange } from './parameter-schema.js';
import type { CheckoutSessionRecord } from './store.js';

export type NewPaymentIntent = Pick<
  PaymentIntent,
  'amount' | 'automatic_payment_methods' | 'customer' | 'description' | 'metadata' | 'payment_method'
> &
  Pick<
    PaymentIntent,
    'receipt_email' | 'setup_future_usage' | 'statement_descriptor' | 'statement_descriptor_suffix'
  >;

/** Stores an intent without an attempt to pay it yet; in US dollars. */
export function createPaymentIntent(context: SandboxContext, wanted: NewPaymentIntent): PaymentIntent {
  const id = stripeId('pi');
  const intent: PaymentIntent = {
    id,
    object: 'payment_intent',
    allowed_payment_method_types: null,
    amount: wanted.amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: wanted.automatic_payment_methods,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic_async',
    client_secret: stripeId(`${id}_secret`),
    confirmation_method: 'automatic',
    created: nowSeconds(context),
    currency: 'usd',
    customer: wanted.customer,
    customer_account: null,
    description: wanted.description,
    excluded_payment_method_types: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    managed_payments: null,
    metadata: wanted.metadata,
    next_action: null,
    on_behalf_of: null,
    payment_method: wanted.payment_method,
    payment_method_configuration_details: null,
    payment_method_options: { card: { request_three_d_secure: 'automatic' } },
    payment_method_types: ['card'],
    payment_record: null,
    processing: null,
    receipt_email: wanted.receipt_email,
    review: null,
    setup_future_usage: wanted.setup_future_usage,
    shipping: null,
    source: null,
    statement_descriptor: wanted.statement_descriptor,
    statement_descriptor_suffix: wanted.statement_descriptor_suffix,
    status: 'requires_payment_method',
    transfer_data: null,
    transfer_group: null,
  };
  return putPaymentIntent(context, intent, {});
}

/** Returns the intent of a Checkout Session; Stripe creates it when the customer first tries to pay. */
export function intentOfSession(context: SandboxContext, record: CheckoutSessionRecord): PaymentIntent {
  const { object: session, paymentIntentData: data } = record;
  return createPaymentIntent(context, {
    amount: session.amount_total,
    automatic_payment_methods: null,
    customer: session.customer,
    description: data.description,
    metadata: data.metadata,
    payment_method: null,
    receipt_email: data.receiptEmail,
    setup_future_usage: data.setupFutureUsage,
    statement_descriptor: data.statementDescriptor,
    statement_descriptor_suffix: data.statementDescriptorSuffix,
  });
}

export function putPaymentIntent(
  context: SandboxContext,
  intent: PaymentIntent,
  changes: Partial<PaymentIntent>,
): PaymentIntent {
  const changed = { ...intent, ...changes };
  context.store.paymentIntents.put(changed);
  return changed;
}

/** `reason` is the caller's, or `automatic` when its session expired. */
export function cancelPaymentIntent(
  context: SandboxContext,
  intent: PaymentIntent,
  reason: string | null,
  cause: Cause,
): PaymentIntent {
  const canceled = putPaymentIntent(context, intent, {
    canceled_at: nowSeconds(context),
    cancellation_reason: reason,
    status: 'canceled',
  });
  emitEvent(context, 'payment_intent.canceled', canceled, cause);
  return canceled;
}

/** Throws 404 `resource_missing`. */
export function requirePaymentIntent(context: SandboxContext, id: string): PaymentIntent {
  const intent = context.store.paymentIntents.get(id);
  if (intent === undefined) throw resourceMissing('payment_intent', id, 'intent', 404);
  return intent;
}

export const paymentIntentOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/payment_intents/:id',
    parameters: { client_secret: notSimulated },
    run: (context, _params, { id }) => requirePaymentIntent(context, id),
  }),
  operation({
    method: 'GET',
    path: '/v1/payment_intents',
    parameters: {
      ...listParameters,
      created: optional(timeRange()),
      customer: optional(text()),
      customer_account: notSimulated,
    },
    run: (context, params) => {
      const { created, customer } = params;
      const wanted = context.store.paymentIntents.newestFirst().filter((intent) => {
        if (!isWithin(created, intent.created)) return false;
        return customer === undefined || intent.customer === customer;
      });
      return page(wanted, params, '/v1/payment_intents', 'payment_intent');
    },
  }),
];
