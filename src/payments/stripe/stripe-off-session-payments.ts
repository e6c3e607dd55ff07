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
import { isResourceMissing } from './stripe-errors.js';

const SECOND_MS = 1_000;
/** Stripe's clock is not ours. */
const CLOCK_SKEW_MS = 10 * 60_000;
const PAGE_SIZE = 100;
/** A customer does not pay a thousand times within the day or so that is looked through. */
const PAGES_MAX = 10;

/** Saved cards at Stripe, charged through PaymentIntents. */
@Injectable()
export class StripeOffSessionPayments implements OffSessionPayments {
  constructor(private readonly api: StripeApi) {}

  async charge(payment: NewOffSessionPayment, idempotencyKey: string): Promise<PaymentIntent> {
    const params: Stripe.PaymentIntentCreateParams = {
      // At most eight digits: exact as a JavaScript number.
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
      const declined = declinedIntentOf(error);
      if (declined === null) throw error;
      return declined;
    }
  }

  async retrieve(id: string): Promise<PaymentIntent | null> {
    return orNull(async () =>
      toIntent(await this.api.call('payment_intent', (stripe) => stripe.paymentIntents.retrieve(id))),
    );
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
    // "Not there" would be a guess, and a guess could charge twice.
    throw new Error(`${customerId} has more payments than are looked through for ${topUpId}`);
  }

  async retrieveCard(paymentMethodId: string): Promise<ProviderCard | null> {
    return orNull(async () => {
      const method = await this.api.call('payment_method', (stripe) =>
        stripe.paymentMethods.retrieve(paymentMethodId),
      );
      const { card } = method;
      if (card === undefined) return null;
      return {
        id: method.id,
        livemode: method.livemode,
        customerId: idOf(method.customer),
        brand: card.brand,
        last4: card.last4,
        expMonth: card.exp_month,
        expYear: card.exp_year,
      };
    });
  }

  async detachCard(paymentMethodId: string): Promise<void> {
    try {
      await this.api.call('payment_method', (stripe) => stripe.paymentMethods.detach(paymentMethodId));
    } catch (error) {
      // Stripe refuses to detach what is attached to nobody, or is gone: look, for its words may change.
      const card =
        error instanceof PaymentRequestRefusedError ? await this.retrieveCard(paymentMethodId) : null;
      if (!(error instanceof PaymentRequestRefusedError) || card?.customerId != null) throw error;
    }
  }
}

async function orNull<T>(read: () => Promise<T | null>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Error && isResourceMissing(error.cause)) return null;
    throw error;
  }
}

/** A decline is an answer, not an outage: Stripe sends it as an error, with the intent that is left behind. */
function declinedIntentOf(error: unknown): PaymentIntent | null {
  const cause = error instanceof Error ? error.cause : null;
  if (!(cause instanceof Stripe.errors.StripeCardError)) return null;
  const intent = cause.payment_intent;
  if (intent?.object !== 'payment_intent') return null;
  const told = toIntent(intent);
  // The SDK makes an empty text of what is not there.
  const { code, decline_code: declineCode, advice_code: adviceCode } = cause;
  const decline = {
    code: code ?? 'card_declined',
    declineCode: textOf(declineCode),
    adviceCode: textOf(adviceCode),
  };
  return { ...told, decline: told.decline ?? decline };
}

function toIntent(intent: Stripe.PaymentIntent): PaymentIntent {
  return {
    id: intent.id,
    livemode: intent.livemode,
    status: intent.status,
    currency: intent.currency,
    amountCents: toCents(intent.amount),
    amountReceivedCents: toCents(intent.amount_received),
    customerId: idOf(intent.customer),
    paymentMethodId: idOf(intent.payment_method),
    topUpId: intent.metadata[METADATA_TOP_UP] ?? null,
    decline: toDecline(intent.last_payment_error),
  };
}

function toDecline(error: Stripe.PaymentIntent.LastPaymentError | null): CardDecline | null {
  if (error === null) return null;
  return {
    code: error.code ?? 'card_declined',
    declineCode: textOf(error.decline_code),
    adviceCode: textOf(error.advice_code),
  };
}

function textOf(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text;
}

function idOf(object: string | { readonly id: string } | null): string | null {
  return typeof object === 'string' ? object : (object?.id ?? null);
}

/** Anything but whole cents is no amount of ours; comparing it with one must fail, not throw. */
function toCents(amount: number): UsdCents | null {
  return Number.isSafeInteger(amount) ? cents(BigInt(amount)) : null;
}
