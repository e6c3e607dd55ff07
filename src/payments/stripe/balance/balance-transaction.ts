import type { UsdCents } from '../../../platform/common/money.js';

/** One movement of the money that we have at Stripe, as Stripe reports it. It never changes. */
export type BalanceTransaction = {
  readonly id: string;
  /** `charge`, `refund`, `adjustment`, `payout` …; Stripe may add values. */
  readonly type: string;
  /** Stripe's own grouping of types, for accountants: `dispute`, `dispute_reversal`, `fee` … */
  readonly reportingCategory: string;
  readonly currency: string;
  /** The amount in the smallest unit of the currency, cents for US dollars. Positive amounts increase the balance. */
  readonly amountCents: UsdCents;
  /** The fee that Stripe keeps; negative when Stripe gives a fee back. */
  readonly feeCents: UsdCents;
  /** The amount less the fee. */
  readonly netCents: UsdCents;
  /** The charge, refund, dispute or payout that moved the money; null for Stripe's own bills. */
  readonly sourceId: string | null;
  readonly paymentIntentId: string | null;
  /** Our id from a charge's metadata; null for charges that other systems make on the same Stripe account. */
  readonly topUpId: string | null;
  readonly createdAt: Date;
};
