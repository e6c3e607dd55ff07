import { AMOUNT_MAX_CENTS } from './checkout-session-parameters.js';
import type { Cause, SandboxContext } from './context.js';
import { requireCustomer } from './customers.js';
import { invalidRequest, StripeApiError } from './errors.js';
import { emitEvent } from './events.js';
import { AMOUNT_MIN_CENTS } from './new-checkout-session.js';
import type { PaymentIntent } from './objects.js';
import { operation, type Operation } from './operation.js';
import {
  boolean,
  choice,
  currency,
  email,
  hash,
  integer,
  metadata,
  notSimulated,
  onSwitch,
  optional,
  text,
  url,
  type ValuesOf,
} from './parameter-schema.js';
import { attemptPayment } from './payment-attempts.js';
import { cancelPaymentIntent, createPaymentIntent, requirePaymentIntent } from './payment-intents.js';
import { assertNotUsedUp, requirePaymentMethod } from './payment-methods.js';
import type { PaymentMethodRecord } from './store.js';

/**
 * `POST /v1/payment_intents` as a payment without the customer needs it: confirmed at once, off-session.
 * Everything else is the payment page's business here.
 */
const createParameters = {
  allowed_payment_method_types: notSimulated,
  amount: integer(0, Number.MAX_SAFE_INTEGER),
  amount_details: notSimulated,
  application_fee_amount: notSimulated,
  automatic_payment_methods: optional(
    hash({ allow_redirects: optional(choice(['always', 'never'])), enabled: boolean() }),
  ),
  capture_method: optional(choice(['automatic', 'automatic_async'], ['manual'])),
  confirm: onSwitch(),
  confirmation_method: optional(choice(['automatic'], ['manual'])),
  confirmation_token: notSimulated,
  currency: currency(),
  customer: optional(text()),
  customer_account: notSimulated,
  description: optional(text(1_000)),
  error_on_requires_action: optional(boolean()),
  excluded_payment_method_types: notSimulated,
  hooks: notSimulated,
  mandate: notSimulated,
  mandate_data: notSimulated,
  metadata: optional(metadata()),
  off_session: onSwitch(['one_off', 'recurring']),
  on_behalf_of: notSimulated,
  payment_details: notSimulated,
  payment_method: optional(text()),
  payment_method_configuration: notSimulated,
  payment_method_data: notSimulated,
  payment_method_options: notSimulated,
  radar_options: notSimulated,
  receipt_email: optional(email()),
  return_url: optional(url()),
  setup_future_usage: optional(choice(['off_session', 'on_session'])),
  shipping: notSimulated,
  statement_descriptor: optional(text(22)),
  statement_descriptor_suffix: optional(text(22)),
  transfer_data: notSimulated,
  transfer_group: notSimulated,
  use_stripe_sdk: notSimulated,
};

type CreateValues = ValuesOf<typeof createParameters>;

/** Returns the paid intent. Throws `card_error` 402, with the intent that remains, when the card does not pay. */
function payOffSession(context: SandboxContext, params: CreateValues, cause: Cause): PaymentIntent {
  assertAmount(params.amount);
  if (params.setup_future_usage !== undefined) {
    throw invalidRequest(
      'You cannot confirm with `off_session=true` when `setup_future_usage` is also set on the PaymentIntent. The ' +
        'customer needs to be on-session to perform the steps which may be required to set up the PaymentMethod for ' +
        'future usage. Please confirm this PaymentIntent with your customer on-session.',
    );
  }
  const method = methodOf(context, params);
  const intent = createPaymentIntent(context, {
    amount: params.amount,
    automatic_payment_methods: {
      allow_redirects: params.automatic_payment_methods?.allow_redirects ?? 'always',
      enabled: params.automatic_payment_methods?.enabled ?? true,
    },
    customer: params.customer ?? null,
    description: params.description ?? null,
    metadata: params.metadata ?? {},
    payment_method: method.id,
    receipt_email: params.receipt_email ?? null,
    setup_future_usage: null,
    statement_descriptor: params.statement_descriptor ?? null,
    statement_descriptor_suffix: params.statement_descriptor_suffix ?? null,
  });
  emitEvent(context, 'payment_intent.created', intent, cause);
  const outcome = attemptPayment(context, { intent, method, authentication: 'off_session', cause });
  if (outcome.status === 'paid') return outcome.intent;
  throw new StripeApiError(402, { ...outcome.error, payment_intent: outcome.intent });
}

function assertAmount(amountCents: number): void {
  if (amountCents < AMOUNT_MIN_CENTS) {
    throw invalidRequest('Amount must be at least $0.50 usd', { code: 'amount_too_small', param: 'amount' });
  }
  if (amountCents > AMOUNT_MAX_CENTS) {
    throw invalidRequest('Amount must be no more than $999,999.99', {
      code: 'amount_too_large',
      param: 'amount',
    });
  }
}

/** A payment method of another customer, or one that may not be used again, is refused before anything is stored. */
function methodOf(context: SandboxContext, params: CreateValues): PaymentMethodRecord {
  const { customer, payment_method: id } = params;
  if (customer !== undefined) requireCustomer(context, customer, 'customer');
  if (id === undefined) throw methodMissing(customer);
  const method = requirePaymentMethod(context, id);
  assertNotUsedUp(method);
  const owner = method.object.customer;
  if (owner === null || owner === customer) return method;
  if (customer === undefined) {
    throw invalidRequest(
      `The \`payment_method\` parameter supplied ${method.id} belongs to the Customer ${owner}. Please include the ` +
        'Customer in the `customer` parameter on the PaymentIntent.',
      { code: 'parameter_missing', param: 'customer' },
    );
  }
  throw invalidRequest(
    `The PaymentMethod ${method.id} does not belong to the Customer you supplied ${customer}. Please use this ` +
      'PaymentMethod with the Customer that it belongs to instead.',
    { param: 'payment_method' },
  );
}

function methodMissing(customer: string | undefined): Error {
  const how =
    customer === undefined
      ? 'You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it again ' +
        'directly with a payment method or ConfirmationToken.'
      : `To confirm the PaymentIntent with ${customer}, specify a payment method attached to this customer along with ` +
        'the customer ID.';
  return invalidRequest(
    `You cannot confirm this PaymentIntent because it's missing a payment method. ${how}`,
    { code: 'payment_intent_unexpected_state' },
  );
}

function cancel(context: SandboxContext, id: string, reason: string | null, cause: Cause): PaymentIntent {
  const intent = requirePaymentIntent(context, id);
  const ofSession = context.store.checkoutSessions
    .oldestFirst()
    .some((record) => record.object.payment_intent === id);
  if (ofSession) {
    throw invalidRequest(
      'You cannot cancel this PaymentIntent because it belongs to a Checkout Session. Expire the Checkout Session instead.',
      { code: 'payment_intent_unexpected_state', paymentIntent: intent },
    );
  }
  if (intent.status === 'requires_payment_method') return cancelPaymentIntent(context, intent, reason, cause);
  throw invalidRequest(
    `You cannot cancel this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one ` +
      'of the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, ' +
      'requires_action, processing.',
    { code: 'payment_intent_unexpected_state', paymentIntent: intent },
  );
}

export const offSessionPaymentOperations: readonly Operation[] = [
  operation({
    method: 'POST',
    path: '/v1/payment_intents',
    parameters: createParameters,
    run: (context, params, { cause }) => payOffSession(context, params, cause),
  }),
  operation({
    method: 'POST',
    path: '/v1/payment_intents/:id/cancel',
    parameters: {
      cancellation_reason: optional(
        choice(['abandoned', 'duplicate', 'fraudulent', 'requested_by_customer']),
      ),
    },
    run: (context, params, { id, cause }) => cancel(context, id, params.cancellation_reason ?? null, cause),
  }),
];
