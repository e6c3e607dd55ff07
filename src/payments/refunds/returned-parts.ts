import { cents, microsToCentsExact, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import type { TopUp } from '../top-ups/top-up.js';
import type { Parts } from '../../money/wallets/rules/payment-parts.js';

type Returned = {
  readonly creditMicros: MicroUsd | null;
  readonly feeMicros: MicroUsd | null;
  readonly taxMicros: MicroUsd | null;
};

/** What was paid. A quote is in whole cents in both fee modes. */
export function paidFor({ creditMicros, feeMicros, taxMicros }: TopUp): Parts {
  return {
    creditCents: microsToCentsExact(creditMicros),
    feeCents: microsToCentsExact(feeMicros),
    taxCents: microsToCentsExact(taxMicros),
  };
}

/** The sum of refunds that count against a payment. */
export function returnedBy(returned: readonly Returned[]): Parts {
  const sum = (amountOf: (each: Returned) => MicroUsd | null): UsdCents =>
    cents(returned.reduce((total, each) => total + centsOf(amountOf(each)), 0n));
  return {
    creditCents: sum(({ creditMicros }) => creditMicros),
    feeCents: sum(({ feeMicros }) => feeMicros),
    taxCents: sum(({ taxMicros }) => taxMicros),
  };
}

function centsOf(amount: MicroUsd | null): bigint {
  return amount === null ? 0n : microsToCentsExact(amount);
}
