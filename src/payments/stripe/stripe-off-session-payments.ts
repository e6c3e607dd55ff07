import { Injectable } from '@nestjs/common';
import { Stripe } from 'stripe';
import { cents, type UsdCents } from '../../platform/common/money.js';
import type {
  CardDecline,
  NewOffSessionPayment,
  OffSessionPayments,
  PaymentIntent,
  ProviderCard,
} from './off-session-payments.js';
import { METADATA_ACCOUNT, METADATA_TOP_UP } from './payment-gateway.js';
import { PaymentRequestRefusedError } from './payments.errors.js';
import { StripeApi } from './stripe-api.js';

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

function toId(object: string | { readonly id: string } | null): string | null {
  return typeof object === 'string' ? object : (object?.id ?? null);
}

/** Returns null for anything but whole cents, so that a comparison with one of our amounts fails and does not throw. */
function toCents(amount: number): UsdCents | null {
  return Number.isSafeInteger(amount) ? cents(BigInt(amount)) : null;
}
