import { Stripe } from 'stripe';
import type { StripeSettings } from '../../platform/config/settings.js';

/** A customer waits for the payment page; Stripe answers within a second or is in trouble. */
const TIMEOUT_MS = 10_000;
/** Each with the same idempotency key. More would outlast the customer's patience. */
const NETWORK_RETRIES_MAX = 2;

/** The SDK, pinned to the API version that it was made for. */
export function createStripeClient({ secretKey, apiBase }: StripeSettings): Stripe {
  return new Stripe(secretKey, {
    timeout: TIMEOUT_MS,
    maxNetworkRetries: NETWORK_RETRIES_MAX,
    telemetry: false,
    appInfo: { name: 'Coffer' },
    ...(apiBase === null ? {} : hostOf(apiBase)),
  });
}

function hostOf(apiBase: URL): { host: string; port: number; protocol: 'http' | 'https' } {
  const protocol = apiBase.protocol === 'http:' ? 'http' : 'https';
  const defaultPort = protocol === 'http' ? 80 : 443;
  return { protocol, host: apiBase.hostname, port: apiBase.port === '' ? defaultPort : Number(apiBase.port) };
}

/** Live keys move real money; every other one is play money. */
export function isLiveKey(secretKey: string): boolean {
  return /^(sk|rk)_live_/.test(secretKey);
}
