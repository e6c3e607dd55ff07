import { Stripe } from 'stripe';
import type { StripeSettings } from '../../platform/config/settings.js';

/** A customer waits for the payment page. Stripe usually answers within a second, so a longer request has failed. */
const TIMEOUT_MS = 10_000;
/** Each retry has the same idempotency key. The customer would not wait for more of them. */
const NETWORK_RETRIES_MAX = 2;

/** Creates the SDK's client, which uses the API version that the SDK was released for. */
export function createStripeClient({ secretKey, apiBase }: StripeSettings): Stripe {
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
export function isLiveKey(secretKey: string): boolean {
  return /^(sk|rk)_live_/.test(secretKey);
}
