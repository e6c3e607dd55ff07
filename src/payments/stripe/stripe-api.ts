import { Inject, Injectable, Logger } from '@nestjs/common';
import { Stripe } from 'stripe';
import { SETTINGS, type Settings, type StripeSettings } from '../../platform/config/settings.js';
import {
  CustomerMissingError,
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from './payments.errors.js';

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

  /** Like `call`, and returns null when Stripe has no such object. */
  async find<T extends { readonly object: string }>(
    object: T['object'],
    request: (stripe: Stripe) => Promise<T>,
  ): Promise<T | null> {
    try {
      return await this.call(object, request);
    } catch (error) {
      if (error instanceof Error && isResourceMissing(error.cause)) return null;
      throw error;
    }
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

/** A customer waits for the payment page. Stripe usually answers within a second, so a longer request has failed. */
const TIMEOUT_MS = 10_000;
/** Each retry has the same idempotency key. The customer would not wait for more of them. */
const NETWORK_RETRIES_MAX = 2;

/** Creates the SDK's client, which uses the API version that the SDK was released for. */
function createStripeClient({ secretKey, apiBase }: StripeSettings): Stripe {
  return new Stripe(secretKey, {
    timeout: TIMEOUT_MS,
    maxNetworkRetries: NETWORK_RETRIES_MAX,
    telemetry: false,
    appInfo: { name: 'Coffer' },
    ...(apiBase === null ? {} : toHostOptions(apiBase)),
  });
}

function toHostOptions(apiBase: URL): { host: string; port: number; protocol: 'http' | 'https' } {
  const protocol = apiBase.protocol === 'http:' ? 'http' : 'https';
  const defaultPort = protocol === 'http' ? 80 : 443;
  return { protocol, host: apiBase.hostname, port: apiBase.port === '' ? defaultPort : Number(apiBase.port) };
}

/** Live keys move real money. Every other key moves test money. */
function isLiveKey(secretKey: string): boolean {
  return /^(sk|rk)_live_/.test(secretKey);
}

const { errors } = Stripe;

/** Translates an error of the SDK. Unless Stripe clearly refused the request, it may have succeeded, so it counts as unavailable. */
function translateStripeError(error: unknown): Error {
  if (error instanceof errors.StripeIdempotencyError) {
    return new PaymentRequestRefusedError('idempotency_error', null, error);
  }
  if (error instanceof errors.StripeInvalidRequestError) {
    const param = error.param ?? null;
    if (param === 'customer' && error.code === 'resource_missing') return new CustomerMissingError(error);
    return new PaymentRequestRefusedError(error.code ?? 'unknown', param, error);
  }
  return new PaymentsUnavailableError(error);
}

function isResourceMissing(error: unknown): boolean {
  return error instanceof errors.StripeInvalidRequestError && error.statusCode === 404;
}

/** Whether our key is wrong, revoked or lacks a permission. An operator has to fix that; a retry does not help. */
function isKeyRefused(error: unknown): boolean {
  return error instanceof errors.StripeAuthenticationError || error instanceof errors.StripePermissionError;
}
