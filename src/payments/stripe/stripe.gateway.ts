import { Injectable } from '@nestjs/common';
import { Stripe } from 'stripe';
import { cents, type UsdCents } from '../../platform/common/money.js';
import {
  METADATA_ACCOUNT,
  METADATA_REFUND,
  METADATA_TOP_UP,
  type CheckoutSession,
  type FraudWarning,
  type NewCheckoutSession,
  type NewRefund,
  type Payer,
  type PaymentGateway,
  type ProviderDispute,
  type ProviderDisputeMovement,
  type ProviderRefund,
} from './payment-gateway.js';
import { StripeApi } from './stripe-api.js';
import type {
  CardDecline,
  NewOffSessionPayment,
  OffSessionPayments,
  PaymentIntent,
  ProviderCard,
} from './off-session-payments.js';
import { PaymentRequestRefusedError } from './payments.errors.js';

/** Payment pages, refunds and disputes, as the port `PaymentGateway` wants them. */
@Injectable()
export class StripeGateway implements PaymentGateway {
  readonly livemode: boolean;

  constructor(private readonly api: StripeApi) {
    this.livemode = api.livemode;
  }

  async createCustomer({ accountId, name }: Payer, idempotencyKey: string): Promise<string> {
    const params = { name, metadata: { [METADATA_ACCOUNT]: accountId } };
    const customer = await this.api.call('customer', (stripe) =>
      stripe.customers.create(params, { idempotencyKey }),
    );
    return customer.id;
  }

  async createCheckoutSession(session: NewCheckoutSession, idempotencyKey: string): Promise<CheckoutSession> {
    const params = toCreateParams(session);
    return toCheckoutSession(
      await this.api.call('checkout.session', (stripe) =>
        stripe.checkout.sessions.create(params, { idempotencyKey }),
      ),
    );
  }

  async retrieveCheckoutSession(id: string): Promise<CheckoutSession | null> {
    const session = await this.api.find('checkout.session', (stripe) =>
      stripe.checkout.sessions.retrieve(id, { expand: ['payment_intent.latest_charge', 'invoice'] }),
    );
    return session === null ? null : toCheckoutSession(session);
  }

  async expireCheckoutSession(id: string): Promise<CheckoutSession> {
    return toCheckoutSession(
      await this.api.call('checkout.session', (stripe) => stripe.checkout.sessions.expire(id)),
    );
  }

  async createRefund(refund: NewRefund, idempotencyKey: string): Promise<ProviderRefund> {
    const params: Stripe.RefundCreateParams = {
      payment_intent: refund.paymentIntentId,
      // The amount has at most eight digits, so it is exact as a JavaScript number.
      amount: Number(refund.amountCents),
      metadata: {
        [METADATA_REFUND]: refund.refundId,
        [METADATA_TOP_UP]: refund.topUpId,
        [METADATA_ACCOUNT]: refund.accountId,
      },
    };
    return toRefund(
      await this.api.call('refund', (stripe) => stripe.refunds.create(params, { idempotencyKey })),
    );
  }

  async retrieveRefund(id: string): Promise<ProviderRefund | null> {
    const refund = await this.api.find('refund', (stripe) =>
      stripe.refunds.retrieve(id, { expand: ['payment_intent', 'balance_transaction'] }),
    );
    return refund === null ? null : toRefund(refund);
  }

  async retrieveDispute(id: string): Promise<ProviderDispute | null> {
    const dispute = await this.api.find('dispute', (stripe) =>
      stripe.disputes.retrieve(id, { expand: ['payment_intent'] }),
    );
    return dispute === null ? null : toDispute(dispute);
  }

  async retrieveFraudWarning(id: string): Promise<FraudWarning | null> {
    const warning = await this.api.find('radar.early_fraud_warning', (stripe) =>
      stripe.radar.earlyFraudWarnings.retrieve(id, { expand: ['payment_intent'] }),
    );
    if (warning === null) return null;
    const { actionable, fraud_type: fraudType, payment_intent: intent } = warning;
    return {
      id: warning.id,
      actionable,
      fraudType,
      paymentIntentId: toId(intent),
      topUpId: findTopUpId(intent),
    };
  }

  async listRefunds(paymentIntentId: string): Promise<readonly ProviderRefund[]> {
    // One page is enough, because no top-up has more than a hundred partial refunds.
    const params = { payment_intent: paymentIntentId, limit: 100 };
    const list = await this.api.call('list', (stripe) => stripe.refunds.list(params));
    return list.data.map(toRefund);
  }
}

/** Tax depends on the address, so the page asks for it and stores it for the next time. Without a tax registration Stripe adds 0. */
const TAX_PARAMS = {
  automatic_tax: { enabled: true },
  billing_address_collection: 'required',
  customer_update: { address: 'auto', name: 'auto' },
} as const satisfies Partial<Stripe.Checkout.SessionCreateParams>;

function toCreateParams(session: NewCheckoutSession): Stripe.Checkout.SessionCreateParams {
  const metadata = { [METADATA_TOP_UP]: session.topUpId, [METADATA_ACCOUNT]: session.accountId };
  return {
    mode: 'payment',
    customer: session.customerId,
    client_reference_id: session.topUpId,
    line_items: session.lineItems.map(({ name, amountCents }) => ({
      quantity: 1,
      // The amount is whole cents of at most eight digits, so it is exact as a JavaScript number.
      price_data: {
        currency: 'usd',
        unit_amount: Number(amountCents),
        product_data: { name },
        // Tax is added to the quoted price and never taken out of it.
        ...(session.automaticTax ? { tax_behavior: 'exclusive' as const } : {}),
      },
    })),
    // Stripe does not copy a session's metadata to the objects it creates, and later events name only those objects.
    metadata,
    payment_intent_data: {
      metadata,
      description: session.description,
      ...(session.saveCard ? { setup_future_usage: 'off_session' as const } : {}),
    },
    invoice_creation: { enabled: true, invoice_data: { metadata } },
    ...(session.automaticTax ? TAX_PARAMS : {}),
    // The customer pays the dollars that were quoted, not a converted amount.
    adaptive_pricing: { enabled: false },
    expires_at: Math.floor(session.expiresAtMs / 1_000),
    success_url: session.successUrl,
    cancel_url: session.cancelUrl,
  };
}

function toCheckoutSession(session: Stripe.Checkout.Session): CheckoutSession {
  const { payment_intent: intent } = session;
  return {
    id: session.id,
    livemode: session.livemode,
    status: session.status,
    paymentStatus: session.payment_status,
    currency: session.currency,
    amountSubtotalCents: toCents(session.amount_subtotal),
    amountTotalCents: toCents(session.amount_total),
    amountTaxCents: toCents(session.total_details?.amount_tax ?? 0),
    automaticTax: session.automatic_tax.enabled,
    automaticTaxStatus: session.automatic_tax.status,
    clientReferenceId: session.client_reference_id,
    metadata: session.metadata ?? {},
    url: session.url,
    paymentIntentId: toId(intent),
    invoiceUrl:
      session.invoice === null || typeof session.invoice === 'string'
        ? null
        : (session.invoice.hosted_invoice_url ?? null),
    receiptUrl: findReceiptUrl(intent),
    paymentIntentStatus: intent === null || typeof intent === 'string' ? null : intent.status,
  };
}

function toRefund(refund: Stripe.Refund): ProviderRefund {
  const { balance_transaction: moved } = refund;
  return {
    id: refund.id,
    status: refund.status,
    currency: refund.currency,
    amountCents: toCents(refund.amount),
    takenCents: toTakenCents(refund, typeof moved === 'string' ? null : moved),
    paymentIntentId: toId(refund.payment_intent),
    topUpId: findTopUpId(refund.payment_intent),
    metadata: refund.metadata ?? {},
    failureReason: refund.failure_reason ?? null,
  };
}

function toDispute(dispute: Stripe.Dispute): ProviderDispute {
  const moved = dispute.balance_transactions.filter(({ amount }) => amount !== 0);
  return {
    id: dispute.id,
    status: dispute.status,
    reason: dispute.reason,
    currency: dispute.currency,
    takenCents: toTakenCents(
      dispute,
      dispute.balance_transactions.find(({ amount }) => amount < 0),
    ),
    paymentIntentId: toId(dispute.payment_intent),
    topUpId: findTopUpId(dispute.payment_intent),
    // The sort is stable, so movements of the same second stay in Stripe's order.
    movements: moved.sort((a, b) => a.created - b.created).map((each) => toMovement(dispute, each)),
  };
}

function toMovement(
  dispute: Pick<Stripe.Dispute, 'currency' | 'amount'>,
  { id, amount, currency }: Stripe.BalanceTransaction,
): ProviderDisputeMovement {
  const inUsd = currency === 'usd' ? amount : dispute.currency === 'usd' ? dispute.amount : null;
  return {
    id,
    direction: amount < 0 ? 'taken' : 'given_back',
    amountCents: toCents(inUsd === null ? null : Math.abs(inUsd)),
  };
}

/**
 * Banks and networks may state refunds and disputes in other currencies. The balance transaction says how much left our
 * balance, and the ledger counts US dollars only.
 */
function toTakenCents(
  { currency, amount }: Pick<Stripe.Refund, 'currency' | 'amount'>,
  moved: Pick<Stripe.BalanceTransaction, 'currency' | 'amount'> | null | undefined,
): UsdCents | null {
  if (currency === 'usd') return toCents(amount);
  return moved?.currency === 'usd' ? toCents(0 - moved.amount) : null;
}

function findReceiptUrl(intent: string | Stripe.PaymentIntent | null): string | null {
  const charge = intent === null || typeof intent === 'string' ? null : intent.latest_charge;
  return charge === null || typeof charge === 'string' ? null : charge.receipt_url;
}

/** The top-up that an expanded PaymentIntent was made for. */
function findTopUpId(intent: string | Stripe.PaymentIntent | null | undefined): string | null {
  return typeof intent === 'string' ? null : (intent?.metadata[METADATA_TOP_UP] ?? null);
}

const SECOND_MS = 1_000;
/** Stripe's clock may differ from ours by this much. */
const CLOCK_SKEW_MS = 10 * 60_000;
const PAGE_SIZE = 100;
/** No customer makes a thousand payments within the day or so that is searched. */
const PAGES_MAX = 10;

/** Charges cards that Stripe stores, with PaymentIntents. */
@Injectable()
export class StripeOffSessionPayments implements OffSessionPayments {
  constructor(private readonly api: StripeApi) {}

  async charge(payment: NewOffSessionPayment, idempotencyKey: string): Promise<PaymentIntent> {
    const params: Stripe.PaymentIntentCreateParams = {
      // The amount has at most eight digits, so it is exact as a JavaScript number.
      amount: Number(payment.amountCents),
      currency: 'usd',
      customer: payment.customerId,
      payment_method: payment.paymentMethodId,
      off_session: true,
      confirm: true,
      description: payment.description,
      metadata: { [METADATA_TOP_UP]: payment.topUpId, [METADATA_ACCOUNT]: payment.accountId },
    };
    try {
      return toIntent(
        await this.api.call('payment_intent', (stripe) =>
          stripe.paymentIntents.create(params, { idempotencyKey }),
        ),
      );
    } catch (error) {
      const declined = toDeclinedIntent(error);
      if (declined === null) throw error;
      return declined;
    }
  }

  async retrieve(id: string): Promise<PaymentIntent | null> {
    const intent = await this.api.find('payment_intent', (stripe) => stripe.paymentIntents.retrieve(id));
    return intent === null ? null : toIntent(intent);
  }

  async find(customerId: string, topUpId: string, sinceMs: number): Promise<PaymentIntent | null> {
    const since = Math.floor(Math.max(sinceMs - CLOCK_SKEW_MS, 0) / SECOND_MS);
    let after: string | undefined;
    for (let pages = 0; pages < PAGES_MAX; pages += 1) {
      const params: Stripe.PaymentIntentListParams = {
        customer: customerId,
        created: { gte: since },
        limit: PAGE_SIZE,
        ...(after === undefined ? {} : { starting_after: after }),
      };
      const list = await this.api.call('list', (stripe) => stripe.paymentIntents.list(params));
      const found = list.data.find(({ metadata }) => metadata[METADATA_TOP_UP] === topUpId);
      if (found !== undefined) return toIntent(found);
      after = list.data.at(-1)?.id;
      if (!list.has_more || after === undefined) return null;
    }
    // Answering that there is none would be a guess, and a wrong guess could charge twice.
    throw new Error(`${customerId} has more payments than are searched for ${topUpId}`);
  }

  async retrieveCard(paymentMethodId: string): Promise<ProviderCard | null> {
    const method = await this.api.find('payment_method', (stripe) =>
      stripe.paymentMethods.retrieve(paymentMethodId),
    );
    if (method?.card === undefined) return null;
    const { card } = method;
    return {
      id: method.id,
      livemode: method.livemode,
      customerId: toId(method.customer),
      brand: card.brand,
      last4: card.last4,
      expMonth: card.exp_month,
      expYear: card.exp_year,
    };
  }

  async detachCard(paymentMethodId: string): Promise<void> {
    try {
      await this.api.call('payment_method', (stripe) => stripe.paymentMethods.detach(paymentMethodId));
    } catch (error) {
      // Stripe refuses to detach a card that is not attached or does not exist. The card is read, because Stripe's message may change.
      const card =
        error instanceof PaymentRequestRefusedError ? await this.retrieveCard(paymentMethodId) : null;
      if (!(error instanceof PaymentRequestRefusedError) || card?.customerId != null) throw error;
    }
  }
}

/** A decline is an answer and not an outage. Stripe sends it as an error that contains the intent. */
function toDeclinedIntent(error: unknown): PaymentIntent | null {
  const cause = error instanceof Error ? error.cause : null;
  if (!(cause instanceof Stripe.errors.StripeCardError)) return null;
  const intent = cause.payment_intent;
  if (intent?.object !== 'payment_intent') return null;
  const declined = toIntent(intent);
  // The SDK turns missing codes into empty strings.
  const { code, decline_code: declineCode, advice_code: adviceCode } = cause;
  const decline = {
    code: code ?? 'card_declined',
    declineCode: toText(declineCode),
    adviceCode: toText(adviceCode),
  };
  return { ...declined, decline: declined.decline ?? decline };
}

function toIntent(intent: Stripe.PaymentIntent): PaymentIntent {
  return {
    id: intent.id,
    livemode: intent.livemode,
    status: intent.status,
    currency: intent.currency,
    amountCents: toCents(intent.amount),
    amountReceivedCents: toCents(intent.amount_received),
    customerId: toId(intent.customer),
    paymentMethodId: toId(intent.payment_method),
    topUpId: intent.metadata[METADATA_TOP_UP] ?? null,
    decline: toDecline(intent.last_payment_error),
  };
}

function toDecline(error: Stripe.PaymentIntent.LastPaymentError | null): CardDecline | null {
  if (error === null) return null;
  return {
    code: error.code ?? 'card_declined',
    declineCode: toText(error.decline_code),
    adviceCode: toText(error.advice_code),
  };
}

function toText(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text;
}

/** The id of an object that Stripe sends in full or by its id alone. */
function toId(object: string | { readonly id: string } | null | undefined): string | null {
  return typeof object === 'string' ? object : (object?.id ?? null);
}

/** Returns null for anything but whole cents, so that a comparison with one of our amounts fails and does not throw. */
function toCents(amount: number | null): UsdCents | null {
  return Number.isSafeInteger(amount) ? cents(BigInt(amount as number)) : null;
}
