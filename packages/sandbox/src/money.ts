/** Stripe's amounts are whole cents. The simulators compute with their own few functions, so that a fault of the product's arithmetic shows. */

/** Formats whole cents for people: `$12.30`, `-$0.05`. */
export function formatCents(cents: number): string {
  const digits = Math.abs(cents).toString().padStart(3, '0');
  return `${cents < 0 ? '-' : ''}$${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** Rounds to the nearest whole number, halves away from zero, as Stripe rounds fees and taxes. The divisor is positive. */
export function divHalfUp(dividend: bigint, divisor: bigint): bigint {
  const doubled = (dividend < 0n ? -dividend : dividend) * 2n;
  const rounded = (doubled + divisor) / (divisor * 2n);
  return dividend < 0n ? -rounded : rounded;
}
