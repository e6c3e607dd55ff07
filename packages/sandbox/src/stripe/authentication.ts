import { invalidRequest, type StripeApiError } from './errors.js';

const KEY_PATTERN = /^(sk|rk)_test_[A-Za-z0-9_]{1,200}$/;

/**
 * Reads the API key of `Authorization: Bearer …` (or of Basic, as `curl -u key:` sends it). Throws Stripe's 401.
 * Every well-formed test key is accepted unless `expected` names the only one. A live key is never accepted, because
 * sending one to a simulator is a mistake that must be reported.
 */
export function authenticate(header: string | undefined, expected: string | null): string {
  const key = keyOf(header);
  if (key === null) {
    throw unauthorized(
      'You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer ' +
        "auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
    );
  }
  if (!KEY_PATTERN.test(key) || (expected !== null && key !== expected)) {
    throw unauthorized(`Invalid API Key provided: ${mask(key)}`);
  }
  return key;
}

function keyOf(header: string | undefined): string | null {
  const [scheme = '', value = ''] = (header ?? '').split(' ', 2);
  if (value === '') return null;
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() !== 'basic') return null;
  const [user = ''] = Buffer.from(value, 'base64').toString('utf8').split(':', 1);
  return user === '' ? null : user;
}

function mask(key: string): string {
  return key.length <= 12 ? '*'.repeat(key.length) : `${key.slice(0, 8)}${'*'.repeat(8)}${key.slice(-4)}`;
}

function unauthorized(message: string): StripeApiError {
  return invalidRequest(message, { status: 401 });
}
