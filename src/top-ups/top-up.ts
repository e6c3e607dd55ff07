import type { MicroUsd, UsdCents } from '../common/money.js';
import type { TopUpFeeMode } from '../config/settings.js';
import type { TopUpStatus } from './top-up.machine.js';

/** Credit that a customer buys. */
export type TopUp = {
  readonly id: string;
  readonly accountId: string;
  readonly status: TopUpStatus;
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  /** What the customer pays: credit plus fee. */
  readonly chargeCents: UsdCents;
  readonly feeMode: TopUpFeeMode;
  readonly feeBps: number;
  /** Whether real money is meant. */
  readonly livemode: boolean;
  readonly lotId: string;
  readonly saveCard: boolean;
  readonly successUrl: string;
  readonly cancelUrl: string;
  readonly expiresAt: Date;
  readonly customerId: string | null;
  readonly checkoutSessionId: string | null;
  readonly checkoutUrl: string | null;
  readonly paymentIntentId: string | null;
  readonly failureCode: TopUpFailure | null;
  readonly idempotencyKey: string | null;
  /** Who asked for the payment page: an IPv4 address, or the /64 of an IPv6 address. Null when nobody did. */
  readonly clientAddress: string | null;
  readonly fingerprint: string;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly checkedAt: Date;
  readonly paidAt: Date | null;
};

/** Why a top-up is not paid, for the customer and for support. */
export const TOP_UP_FAILURES = [
  /** Stripe could not be reached when the top-up was asked for. */
  'payments_unavailable',
  /** Stripe refused to open a payment page. */
  'checkout_refused',
  /** No payment page was ever opened, and its time is over. */
  'checkout_not_opened',
  /** A delayed payment failed in the end. */
  'payment_failed',
  /** Stripe's word contradicts the quote. */
  'payment_mismatch',
] as const;

export type TopUpFailure = (typeof TOP_UP_FAILURES)[number];
