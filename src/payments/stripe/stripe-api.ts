import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { PaymentsUnavailableError } from './payments.errors.js';
import { createStripeClient, isLiveKey } from './stripe-client.js';
import { isKeyRefused, translateStripeError } from './stripe-errors.js';

/** Sends requests to Stripe and checks that each answer is the object that was asked for. */
@Injectable()
export class StripeApi {
  /** Whether the key moves real money. */
  readonly livemode: boolean;
  private readonly client: Stripe | null;
  private readonly logger = new Logger(StripeApi.name);

  constructor(@Inject(SETTINGS) { stripe }: Pick<Settings, 'stripe'>) {
    this.client = stripe === null ? null : createStripeClient(stripe);
    this.livemode = stripe !== null && isLiveKey(stripe.secretKey);
  }

  /** Whether there is a key. With one, Stripe may still be unavailable. */
  get configured(): boolean {
    return this.client !== null;
  }

  /**
   * The SDK takes any JSON without an `error` member for a success, whatever its status. So an answer counts only when it
   * is the object that was asked for. Throws what the `PaymentGateway` throws.
   */
  async call<T extends { readonly object: string }>(
    object: T['object'],
    request: (stripe: Stripe) => Promise<T>,
  ): Promise<T> {
    if (this.client === null) throw new PaymentsUnavailableError(new Error('Stripe is not configured'));
    let answer: T;
    try {
      answer = await request(this.client);
    } catch (error) {
      if (isKeyRefused(error))
        this.logger.error(
          { event: 'stripe.key_refused' },
          'Stripe refuses our API key, or the key lacks a permission; check STRIPE_SECRET_KEY',
        );
      throw translateStripeError(error);
    }
    if ((answer as T | null)?.object === object) return answer;
    throw new PaymentsUnavailableError(new Error(`Stripe did not answer a ${object}`));
  }
}
