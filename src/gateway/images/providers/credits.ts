import { divHalfUp, MAX_AMOUNT_MICROS, micros, type MicroUsd } from '../../../platform/common/money.js';

/** Black Forest Labs counts in credits: 1 credit = 1 US cent = 10,000 micro-USD. */
const DECIMALS = 10_000n;
const CREDITS_PATTERN = /^(\d{1,12})(?:\.(\d{1,18}))?$/;

/**
 * Converts credits to micro-USD: `1.5` credits are 15,000. The JSON number is converted back to its decimal text (exact for up to
 * 15 significant digits), so no float is ever multiplied. Fractions of a micro-dollar are rounded half up; this is our own cost, so
 * no customer gains or loses. Returns null for a value that is no such number.
 */
export function creditsToMicros(credits: unknown): MicroUsd | null {
  if (typeof credits !== 'number') return null;
  const match = CREDITS_PATTERN.exec(String(credits));
  if (match === null) return null;
  const [, whole = '0', fraction = ''] = match;
  const scale = 10n ** BigInt(fraction.length);
  const amount = divHalfUp(BigInt(whole + fraction) * DECIMALS, scale);
  return amount <= MAX_AMOUNT_MICROS ? micros(amount) : null;
}
