/**
 * Money is integer millionths of a US dollar. A `MicroUsd` is a branded bigint: it cannot be mixed up with
 * cents or a plain count, cannot lose precision, and travels as a decimal string named `*_micros`.
 */
declare const microUsd: unique symbol;
declare const usdCents: unique symbol;

export type MicroUsd = bigint & { readonly [microUsd]: true };
export type UsdCents = bigint & { readonly [usdCents]: true };

/** One cent is 10,000 micro-USD. */
export const MICROS_PER_CENT = 10_000n;
export const ZERO = 0n as MicroUsd;

/**
 * The largest amount that one movement may carry: a hundred million dollars. It keeps every sum that the
 * ledger forms far below Postgres' BIGINT (9.2e18 micros), so no balance can overflow.
 */
export const MAX_AMOUNT_MICROS = 100_000_000_000_000n as MicroUsd;

export function micros(value: bigint): MicroUsd {
  return value as MicroUsd;
}

export function cents(value: bigint): UsdCents {
  return value as UsdCents;
}

export const add = (a: MicroUsd, b: MicroUsd): MicroUsd => micros(a + b);
export const subtract = (a: MicroUsd, b: MicroUsd): MicroUsd => micros(a - b);
export const times = (a: MicroUsd, count: number): MicroUsd => micros(a * BigInt(count));
export const smaller = (a: MicroUsd, b: MicroUsd): MicroUsd => (a < b ? a : b);
export const larger = (a: MicroUsd, b: MicroUsd): MicroUsd => (a > b ? a : b);
export const negate = (a: MicroUsd): MicroUsd => micros(0n - a);

const MICROS_PATTERN = /^-?(0|[1-9][0-9]{0,17})$/;

/** Reads the wire form. Returns null unless `text` is the one canonical spelling of an integer. */
export function parseMicros(text: string): MicroUsd | null {
  return MICROS_PATTERN.test(text) && text !== '-0' ? micros(BigInt(text)) : null;
}

/** Returns the wire form: a decimal integer string. */
export function formatMicros(amount: MicroUsd): string {
  return amount.toString();
}

/** Formats an amount for people: `$1.23`, with as many decimals as the amount needs beyond the cent. */
export function formatUsd(amount: MicroUsd): string {
  const sign = amount < 0n ? '-' : '';
  const digits = (amount < 0n ? negate(amount) : amount).toString().padStart(7, '0');
  const fraction = digits.slice(-6).replace(/0{1,4}$/, '');
  return `${sign}$${digits.slice(0, -6)}.${fraction}`;
}

export function centsToMicros(amount: UsdCents): MicroUsd {
  return micros(amount * MICROS_PER_CENT);
}

/** Converts exactly or throws: Stripe uses whole cents, and a conversion that rounds would move money. */
export function microsToCentsExact(amount: MicroUsd): UsdCents {
  return cents(divExact(amount, MICROS_PER_CENT));
}

/** Throws when the division leaves a remainder, so that no party gains from rounding. */
export function divExact(dividend: bigint, divisor: bigint): bigint {
  if (dividend % divisor !== 0n) throw new RangeError(`${dividend} is not a multiple of ${divisor}`);
  return dividend / divisor;
}

/** Returns how many times `each` fits into `total`: a count, not money. Throws when it does not fit exactly. */
export function countExact(total: MicroUsd, each: MicroUsd): number {
  return Number(divExact(total, each));
}

/** Rounds towards minus infinity. The divisor is positive. */
export function divFloor(dividend: bigint, divisor: bigint): bigint {
  assertPositive(divisor);
  const quotient = dividend / divisor;
  return dividend % divisor < 0n ? quotient - 1n : quotient;
}

/** Rounds towards plus infinity. The divisor is positive. */
export function divCeil(dividend: bigint, divisor: bigint): bigint {
  return -divFloor(-dividend, divisor);
}

/** Rounds to the nearest, halves away from zero. The divisor is positive. */
export function divHalfUp(dividend: bigint, divisor: bigint): bigint {
  assertPositive(divisor);
  const doubled = (dividend < 0n ? -dividend : dividend) * 2n;
  const rounded = (doubled + divisor) / (divisor * 2n);
  return dividend < 0n ? -rounded : rounded;
}

function assertPositive(divisor: bigint): void {
  if (divisor <= 0n) throw new RangeError('a divisor must be positive');
}
