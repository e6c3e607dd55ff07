import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

function randomText(length: number): string {
  return Array.from(randomBytes(length), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
}

/** For example `pi_3Nq…`: Stripe's prefixes, and random text that clients must not look into. */
export function stripeId(prefix: string): string {
  return `${prefix}_${randomText(24)}`;
}

/** Checkout Sessions carry their mode and are longer than other ids, so that columns that are too short fail in tests. */
export function checkoutSessionId(): string {
  return `cs_test_${randomText(58)}`;
}

export function requestId(): string {
  return `req_${randomText(14)}`;
}

export function webhookSecret(): string {
  return `whsec_${randomText(32)}`;
}
