import { putSession } from './checkout-sessions.js';
import { CAUSED_BY_NO_REQUEST, nowSeconds, type SandboxContext } from './context.js';
import type { StripeErrorBody } from './errors.js';
import { emitEvent } from './events.js';
import { invoiceOf } from './invoices.js';
import type { CheckoutSession, PaymentIntent, PaymentMethod } from './objects.js';
import { attemptPayment } from './payment-attempts.js';
import { intentOfSession } from './payment-intents.js';
import { newPaymentMethod, type CardOwner } from './payment-methods.js';
import type { CheckoutSessionRecord } from './store.js';
import { CUSTOMER_ADDRESS, keepAddress, withTax } from './tax.js';
import { testCard } from './test-cards.js';

export type PaymentOutcome =
  | { readonly status: 'already_paid' | 'expired' | 'paid'; readonly session: CheckoutSession }
  | { readonly status: 'declined'; readonly session: CheckoutSession; readonly error: StripeErrorBody }
  | { readonly status: 'not_found' }
  | { readonly status: 'unknown_card' };

export type CustomerAct = {
  /** One of the test cards' numbers; by default, the one that pays. */
  readonly card?: string | undefined;
  /** Whether the customer can prove their identity when their bank asks; by default, they can. */
  readonly authentication?: 'fails' | 'succeeds';
};

/**
 * What the customer does on the payment page. It is synchronous: of two payments sent at once, the second finds
 * the session complete. The caller flushes the store before it answers or sends events.
 */
export function payCheckoutSession(
  context: SandboxContext,
  sessionId: string,
  act: CustomerAct,
): PaymentOutcome {
  const found = context.store.checkoutSessions.get(sessionId);
  if (found === undefined) return { status: 'not_found' };
  const { object: session } = found;
  if (session.status === 'complete') return { status: 'already_paid', session };
  if (!isPayable(context, session)) return { status: 'expired', session };
  const card = testCard(act.card);
  if (card === null) return { status: 'unknown_card' };

  // By now the customer has entered their address.
  const record = withTax(found);
  const intent = beginPayment(context, record);
  const method = newPaymentMethod(context, card, billingDetailsOf(context, session));
  const { authentication = 'succeeds' } = act;
  const attempt = { intent, method, authentication, cause: CAUSED_BY_NO_REQUEST, ...ownerOf(record) };
  const outcome = attemptPayment(context, attempt);
  if (outcome.status === 'paid') return complete(context, record, outcome.intent, method.object);
  const { object: open } = putSession(context, record, { payment_intent: intent.id });
  return { status: 'declined', session: open, error: outcome.error };
}

export function isPayable(context: SandboxContext, session: CheckoutSession): boolean {
  return session.status === 'open' && session.expires_at > nowSeconds(context);
}

/** A second attempt uses the first one's intent. */
function beginPayment(context: SandboxContext, record: CheckoutSessionRecord): PaymentIntent {
  const existing = context.store.paymentIntents.get(record.object.payment_intent ?? '');
  if (existing !== undefined) return existing;
  const intent = intentOfSession(context, record);
  emitEvent(context, 'payment_intent.created', intent, CAUSED_BY_NO_REQUEST);
  return intent;
}

/** The card is saved for the customer when the session asked for that and names the customer. */
function ownerOf(record: CheckoutSessionRecord): { readonly savedFor?: CardOwner } {
  const { setupFutureUsage } = record.paymentIntentData;
  const customerId = record.object.customer;
  if (setupFutureUsage === null || customerId === null) return {};
  return { savedFor: { customerId, isSetUpOffSession: setupFutureUsage === 'off_session' } };
}

function billingDetailsOf(
  context: SandboxContext,
  session: CheckoutSession,
): PaymentMethod['billing_details'] {
  const customer = context.store.customers.get(session.customer ?? '');
  const email = customer?.email ?? session.customer_email;
  return { address: null, email, name: customer?.name ?? null, phone: customer?.phone ?? null, tax_id: null };
}

function complete(
  context: SandboxContext,
  record: CheckoutSessionRecord,
  intent: PaymentIntent,
  method: PaymentMethod,
): PaymentOutcome {
  const { email, name, phone } = method.billing_details;
  keepAddress(context, record);
  const isInvoiced = record.object.invoice_creation['enabled'] === true;
  const { object: session } = putSession(context, record, {
    customer_details: {
      address: record.object.billing_address_collection === 'required' ? CUSTOMER_ADDRESS : null,
      business_name: null,
      email,
      individual_name: null,
      name,
      phone,
      tax_exempt: 'none',
      tax_ids: [],
    },
    invoice: isInvoiced ? invoiceOf(context, record).id : null,
    payment_intent: intent.id,
    payment_status: 'paid',
    status: 'complete',
    url: null,
  });
  emitEvent(context, 'checkout.session.completed', session, CAUSED_BY_NO_REQUEST);
  return { status: 'paid', session };
}
