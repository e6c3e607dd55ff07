import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { cents, type UsdCents } from '../common/money.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import {
  METADATA_ACCOUNT,
  METADATA_TOP_UP,
  type CheckoutSession,
  type NewCheckoutSession,
  type PaymentGateway,
} from './payment-gateway.js';
import { PaymentsUnavailableError } from './payments.errors.js';
import { createStripeClient, isLiveKey } from './stripe-client.js';
import { isKeyRefused, isResourceMissing, translateStripeError } from './stripe-errors.js';

/** Stripe's HTTP API through its SDK. */
@Injectable()
export class StripeGateway implements PaymentGateway {
  readonly livemode: boolean;
  private readonly client: Stripe | null;
  private readonly logger = new Logger(StripeGateway.name);

  constructor(@Inject(SETTINGS) settings: Settings) {
    this.client = settings.stripe === null ? null : createStripeClient(settings.stripe);
    this.livemode = settings.stripe !== null && isLiveKey(settings.stripe.secretKey);
  }

  async createCustomer(accountId: string, idempotencyKey: string): Promise<string> {
    const customer = await this.call('customer', (stripe) =>
      stripe.customers.create({ metadata: { [METADATA_ACCOUNT]: accountId } }, { idempotencyKey }),
    );
    return customer.id;
  }

  async createCheckoutSession(session: NewCheckoutSession, idempotencyKey: string): Promise<CheckoutSession> {
    const params = toCreateParams(session);
    return this.session((stripe) => stripe.checkout.sessions.create(params, { idempotencyKey }));
  }

  async retrieveCheckoutSession(id: string): Promise<CheckoutSession | null> {
    try {
      return await this.session((stripe) =>
        stripe.checkout.sessions.retrieve(id, { expand: ['payment_intent'] }),
      );
    } catch (error) {
      if (error instanceof Error && isResourceMissing(error.cause)) return null;
      throw error;
    }
  }

  async expireCheckoutSession(id: string): Promise<CheckoutSession> {
    return this.session((stripe) => stripe.checkout.sessions.expire(id));
  }

  private async session(
    request: (stripe: Stripe) => Promise<Stripe.Checkout.Session>,
  ): Promise<CheckoutSession> {
    return toCheckoutSession(await this.call('checkout.session', request));
  }

  /**
   * The SDK takes any JSON without an `error` member for a success, whatever its status. So nothing is
   * believed that is not the object that was asked for.
   */
  private async call<T extends { readonly object: string }>(
    object: T['object'],
    request: (stripe: Stripe) => Promise<T>,
  ): Promise<T> {
    if (this.client === null) throw new PaymentsUnavailableError(new Error('Stripe is not configured'));
    let answer: T;
    try {
      answer = await request(this.client);
    } catch (error) {
      if (isKeyRefused(error)) this.logger.error('Stripe refuses our API key, so no payment can be taken.');
      throw translateStripeError(error);
    }
    if ((answer as T | null)?.object === object) return answer;
    throw new PaymentsUnavailableError(new Error(`Stripe did not answer a ${object}`));
  }
}

function toCreateParams(session: NewCheckoutSession): Stripe.Checkout.SessionCreateParams {
  const metadata = { [METADATA_TOP_UP]: session.topUpId, [METADATA_ACCOUNT]: session.accountId };
  return {
    mode: 'payment',
    customer: session.customerId,
    client_reference_id: session.topUpId,
    line_items: session.lineItems.map(({ name, amountCents }) => ({
      quantity: 1,
      // Whole cents, at most eight digits: exact as a JavaScript number.
      price_data: { currency: 'usd', unit_amount: Number(amountCents), product_data: { name } },
    })),
    // Metadata of the session is not copied to what it creates, and later events name only those.
    metadata,
    payment_intent_data: {
      metadata,
      description: session.description,
      ...(session.saveCard ? { setup_future_usage: 'off_session' as const } : {}),
    },
    invoice_creation: { enabled: true, invoice_data: { metadata } },
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
    clientReferenceId: session.client_reference_id,
    metadata: session.metadata ?? {},
    url: session.url,
    paymentIntentId: typeof intent === 'string' ? intent : (intent?.id ?? null),
    paymentIntentStatus: intent === null || typeof intent === 'string' ? null : intent.status,
  };
}

/** Anything but whole cents is no amount of ours; comparing it with one must fail, not throw. */
function toCents(amount: number | null): UsdCents | null {
  return Number.isSafeInteger(amount) ? cents(BigInt(amount as number)) : null;
}
