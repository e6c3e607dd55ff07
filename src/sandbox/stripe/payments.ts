import { createCharge } from './charges.js';
import { putSession } from './checkout-sessions.js';
import { CAUSED_BY_NOBODY, nowSeconds, type SandboxContext } from './context.js';
import type { StripeErrorBody } from './errors.js';
import { emitEvent } from './events.js';
import type { Charge, CheckoutSession, PaymentIntent } from './objects.js';
import { createPaymentIntent, putPaymentIntent } from './payment-intents.js';
import type { CheckoutSessionRecord } from './store.js';
import { testCard, type CardOutcome } from './test-cards.js';

export type PaymentOutcome =
  | { readonly status: 'already_paid' | 'expired' | 'paid'; readonly session: CheckoutSession }
  | { readonly status: 'declined'; readonly session: CheckoutSession; readonly error: StripeErrorBody }
  | { readonly status: 'not_found' }
  | { readonly status: 'unknown_card' };

/**
 * What the customer does on the payment page. Synchronous: of two payments sent at once, the second finds
 * the session complete. The caller flushes the store before it tells anybody.
 */
export function payCheckoutSession(
  context: SandboxContext,
  sessionId: string,
  cardNumber: string | undefined,
): PaymentOutcome {
  const record = context.store.checkoutSessions.get(sessionId);
  if (record === undefined) return { status: 'not_found' };
  const { object: session } = record;
  if (session.status === 'complete') return { status: 'already_paid', session };
  if (!isPayable(context, session)) return { status: 'expired', session };
  const card = testCard(cardNumber);
  if (card === null) return { status: 'unknown_card' };

  const intent = beginPayment(context, record);
  const charge = createCharge(context, intent, card, billingDetailsOf(context, session));
  return card.outcome.kind === 'paid'
    ? settle(context, record, intent, charge)
    : decline(context, record, intent, charge, card.outcome);
}

export function isPayable(context: SandboxContext, session: CheckoutSession): boolean {
  return session.status === 'open' && session.expires_at > nowSeconds(context);
}

/** A second attempt uses the first one's intent. */
function beginPayment(context: SandboxContext, record: CheckoutSessionRecord): PaymentIntent {
  const existing = context.store.paymentIntents.get(record.object.payment_intent ?? '');
  if (existing !== undefined) return existing;
  const intent = createPaymentIntent(context, record);
  emitEvent(context, 'payment_intent.created', intent, CAUSED_BY_NOBODY);
  return intent;
}

function billingDetailsOf(context: SandboxContext, session: CheckoutSession): Charge['billing_details'] {
  const customer = context.store.customers.get(session.customer ?? '');
  const email = customer?.email ?? session.customer_email;
  return { address: null, email, name: customer?.name ?? null, phone: customer?.phone ?? null, tax_id: null };
}

function settle(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  intent: PaymentIntent,
  charge: Charge,
): PaymentOutcome {
  const settled = putPaymentIntent(context, intent, {
    amount_received: intent.amount,
    last_payment_error: null,
    latest_charge: charge.id,
    payment_method: charge.payment_method,
    status: 'succeeded',
  });
  const { email, name, phone } = charge.billing_details;
  const { object: session } = putSession(context, record, {
    customer_details: {
      address: null,
      business_name: null,
      email,
      individual_name: null,
      name,
      phone,
      tax_exempt: 'none',
      tax_ids: [],
    },
    payment_intent: settled.id,
    payment_status: 'paid',
    status: 'complete',
    url: null,
  });
  emitEvent(context, 'charge.succeeded', charge, CAUSED_BY_NOBODY);
  emitEvent(context, 'payment_intent.succeeded', settled, CAUSED_BY_NOBODY);
  emitEvent(context, 'checkout.session.completed', session, CAUSED_BY_NOBODY);
  return { status: 'paid', session };
}

type Decline = Extract<CardOutcome, { readonly kind: 'declined' }>;

function decline(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  intent: PaymentIntent,
  charge: Charge,
  outcome: Decline,
): PaymentOutcome {
  const error: StripeErrorBody & { readonly charge: string } = {
    charge: charge.id,
    code: outcome.code,
    decline_code: outcome.declineCode,
    doc_url: `https://stripe.com/docs/error-codes/${outcome.code.replaceAll('_', '-')}`,
    message: outcome.message,
    type: 'card_error',
  };
  const refused = putPaymentIntent(context, intent, { last_payment_error: error, latest_charge: charge.id });
  const { object: session } = putSession(context, record, { payment_intent: refused.id });
  emitEvent(context, 'charge.failed', charge, CAUSED_BY_NOBODY);
  emitEvent(context, 'payment_intent.payment_failed', refused, CAUSED_BY_NOBODY);
  return { status: 'declined', session, error };
}
