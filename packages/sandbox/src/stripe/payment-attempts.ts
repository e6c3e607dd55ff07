import { createCharge } from './charges.js';
import type { Cause, SandboxContext } from './context.js';
import { openDispute } from './dispute-lifecycle.js';
import { warnOfFraud } from './early-fraud-warnings.js';
import { declineBody, type StripeErrorBody } from './errors.js';
import { emitEvent } from './events.js';
import type { Charge, PaymentIntent } from './objects.js';
import { putPaymentIntent } from './payment-intents.js';
import { attachPaymentMethod, cardFor, putPaymentMethod, type CardOwner } from './payment-methods.js';
import type { PaymentMethodRecord } from './store.js';
import { AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED, type Decline, type TestCard } from './test-cards.js';

export type AttemptOutcome =
  | { readonly status: 'declined'; readonly intent: PaymentIntent; readonly error: StripeErrorBody }
  | { readonly status: 'paid'; readonly intent: PaymentIntent };

export type Attempt = {
  readonly intent: PaymentIntent;
  readonly method: PaymentMethodRecord;
  /** What the customer does when their bank asks them to confirm; in an off-session payment the bank cannot ask. */
  readonly authentication: 'fails' | 'off_session' | 'succeeds';
  /** Who keeps the card once it has paid. */
  readonly savedFor?: CardOwner;
  readonly cause: Cause;
};

/**
 * Collects an intent with a payment method, as its test card behaves. Stores the result and emits
 * the events in Stripe's order: the charge's, then a dispute's, then the intent's.
 */
export function attemptPayment(context: SandboxContext, attempt: Attempt): AttemptOutcome {
  const card = cardFor(attempt.method);
  if (attempt.authentication === 'off_session') {
    // The issuer is not asked for the money, so there is no charge.
    const isRefused = needsCustomer(card, attempt.method);
    return isRefused
      ? decline(context, attempt, AUTHENTICATION_REQUIRED, null)
      : charge(context, attempt, card);
  }
  if (card.authentication === undefined) return charge(context, attempt, card);
  askCustomer(context, attempt);
  return attempt.authentication === 'fails'
    ? decline(context, attempt, AUTHENTICATION_FAILED, null)
    : charge(context, attempt, card);
}

/** The intent waits for the customer, as everybody can see who gets its events. */
function askCustomer(context: SandboxContext, { intent, method, cause }: Attempt): void {
  const waiting = putPaymentIntent(context, intent, {
    next_action: { type: 'use_stripe_sdk', use_stripe_sdk: {} },
    payment_method: method.id,
    status: 'requires_action',
  });
  emitEvent(context, 'payment_intent.requires_action', waiting, cause);
}

function charge(context: SandboxContext, attempt: Attempt, card: TestCard): AttemptOutcome {
  const reason = card.decline ?? null;
  const { savedFor, cause } = attempt;
  const method =
    savedFor === undefined || reason !== null
      ? attempt.method
      : attachPaymentMethod(context, attempt.method, savedFor, cause);
  const made = createCharge(context, attempt.intent, { method: method.object, decline: reason });
  return reason === null
    ? settle(context, { ...attempt, method }, card, made)
    : decline(context, attempt, reason, made);
}

function needsCustomer(card: TestCard, method: PaymentMethodRecord): boolean {
  if (card.authentication === undefined) return false;
  return card.authentication === 'always' || !method.isSetUpOffSession;
}

function settle(context: SandboxContext, attempt: Attempt, card: TestCard, made: Charge): AttemptOutcome {
  const { intent, method, cause } = attempt;
  if (method.object.customer === null) putPaymentMethod(context, method, { isUsedUp: true });
  const settled = putPaymentIntent(context, intent, {
    amount_received: intent.amount,
    last_payment_error: null,
    latest_charge: made.id,
    next_action: null,
    payment_method: method.id,
    status: 'succeeded',
  });
  emitEvent(context, 'charge.succeeded', made, cause);
  afterPayment(context, card, made, cause);
  emitEvent(context, 'payment_intent.succeeded', settled, cause);
  return { status: 'paid', intent: settled };
}

function afterPayment(context: SandboxContext, card: TestCard, made: Charge, cause: Cause): void {
  switch (card.afterPayment) {
    case undefined:
      return;
    case 'chargeback':
      openDispute(context, made, { status: 'needs_response', reason: 'fraudulent' }, cause);
      return;
    case 'not_received':
      openDispute(context, made, { status: 'needs_response', reason: 'product_not_received' }, cause);
      return;
    case 'inquiry':
      openDispute(context, made, { status: 'warning_needs_response', reason: 'fraudulent' }, cause);
      return;
    case 'early_fraud_warning':
      warnOfFraud(context, made, 'made_with_stolen_card', cause);
  }
}

/** The intent loses its payment method and waits for another one. */
function decline(
  context: SandboxContext,
  { intent, method, cause }: Attempt,
  reason: Decline,
  made: Charge | null,
): AttemptOutcome {
  const objects = {
    ...(made === null ? {} : { charge: made.id }),
    payment_method: method.object,
  };
  const error = declineBody(reason, objects);
  const refused = putPaymentIntent(context, intent, {
    last_payment_error: error,
    latest_charge: made?.id ?? null,
    next_action: null,
    payment_method: null,
    status: 'requires_payment_method',
  });
  if (made !== null) emitEvent(context, 'charge.failed', made, cause);
  emitEvent(context, 'payment_intent.payment_failed', refused, cause);
  return { status: 'declined', intent: refused, error };
}
