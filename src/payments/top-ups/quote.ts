import { cents, centsToMicros, divCeil, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import type { TopUpFeeMode, TopUpSettings } from '../../platform/config/settings.js';

/** Credit plus fee equals the charge, to the cent, for every amount in either mode. */
export type TopUpQuote = {
  readonly creditCents: UsdCents;
  readonly feeCents: UsdCents;
  readonly chargeCents: UsdCents;
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly feeMode: TopUpFeeMode;
  readonly feeBps: number;
};

const BPS_OF_ONE = 10_000n;
/** $999,999.99 is the largest charge that Stripe accepts. */
export const CHARGE_MAX_CENTS = cents(99_999_999n);

/**
 * Computes what `amountCents` buys. In mode `on_top` it is the credit, and the fee is added to it (pay 105, get 100). In
 * mode `deducted` it is the charge, and the fee is taken out of it (pay 100, get 95).
 *
 * Returns null when the amount is not sold: it is outside the limits, nothing is left after the fee, or the charge is
 * more than Stripe accepts.
 */
export function quoteTopUp(amountCents: UsdCents, settings: TopUpSettings): TopUpQuote | null {
  if (amountCents < settings.minCents || amountCents > settings.maxCents) return null;
  const { feeMode, feeBps } = settings;
  const feeCents = computeFee(amountCents, settings);
  const creditCents = feeMode === 'on_top' ? amountCents : cents(amountCents - feeCents);
  const chargeCents = feeMode === 'on_top' ? cents(amountCents + feeCents) : amountCents;
  if (creditCents <= 0n || chargeCents > CHARGE_MAX_CENTS) return null;
  return {
    creditCents,
    feeCents,
    chargeCents,
    creditMicros: centsToMicros(creditCents),
    feeMicros: centsToMicros(feeCents),
    feeMode,
    feeBps,
  };
}

/** Amounts that people usually buy. */
const EXAMPLE_AMOUNTS: readonly UsdCents[] = [500n, 1_000n, 2_500n, 10_000n, 50_000n].map(cents);

/** Quotes for usual amounts, as a top-up is charged. Amounts outside the limits are left out. */
export function exampleQuotes(settings: TopUpSettings): TopUpQuote[] {
  return EXAMPLE_AMOUNTS.flatMap((amount) => quoteTopUp(amount, settings) ?? []);
}

function computeFee(amountCents: UsdCents, { feeBps, feeMinCents }: TopUpSettings): UsdCents {
  const share = feeShare(amountCents, feeBps);
  return share > feeMinCents ? share : feeMinCents;
}

/** The share is rounded up to the cent, so the platform gains less than a cent. */
export function feeShare(amountCents: UsdCents, feeBps: number): UsdCents {
  return cents(divCeil(amountCents * BigInt(feeBps), BPS_OF_ONE));
}

/** Formats basis points for the line on Stripe's page: 500 is `5%`, 525 is `5.25%`. */
export function formatBps(bps: number): string {
  const digits = bps.toString().padStart(3, '0');
  const fraction = digits.slice(-2).replace(/0+$/, '');
  return `${digits.slice(0, -2)}${fraction === '' ? '' : `.${fraction}`}%`;
}
