import type { UsdCents } from '../../../platform/common/money.js';

/** One movement of the money that we have at Stripe, as Stripe tells it; it never changes. */
export type BalanceTransaction = {
  readonly id: string;
  /** `charge`, `refund`, `adjustment`, `payout` …; an open set. */
  readonly type: string;
  /** Stripe's own grouping of types, for accountants: `dispute`, `dispute_reversal`, `fee` … */
  readonly reportingCategory: string;
  readonly currency: string;
  /** Smallest units of the currency, cents for US dollars; positive into the balance. */
  readonly amountCents: UsdCents;
  /** What Stripe keeps of it; negative when it gives a fee back. */
  readonly feeCents: UsdCents;
  /** Amount less fee. */
  readonly netCents: UsdCents;
  /** The charge, refund, dispute or payout that moved the money; null for Stripe's own bills. */
  readonly sourceId: string | null;
  readonly paymentIntentId: string | null;
  /** Of a charge, by its metadata; null for what other systems charge on the same Stripe account. */
  readonly topUpId: string | null;
  readonly createdAt: Date;
};
