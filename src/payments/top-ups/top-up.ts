import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import type { TopUpFeeMode } from '../../platform/config/settings.js';
import type { TopUpStatus } from './top-up.machine.js';

/** Paid on a payment page, or with a saved card while nobody is there. */
export const TOP_UP_KINDS = ['checkout', 'auto'] as const;

export type TopUpKind = (typeof TOP_UP_KINDS)[number];

/** Credit that a customer buys. */
export type TopUp = {
  readonly id: string;
  readonly accountId: string;
  readonly kind: TopUpKind;
  readonly status: TopUpStatus;
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  /** What the customer pays before tax: credit plus fee. */
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
  /** The saved card of an auto top-up; null for a payment page. */
  readonly paymentMethodId: string | null;
  /** When Stripe was about to be asked to charge it: from then on the charge may exist. */
  readonly dispatchedAt: Date | null;
  readonly failureCode: TopUpFailure | null;
  /** The issuer's word for it, such as `insufficient_funds`. */
  readonly declineCode: string | null;
  readonly idempotencyKey: string | null;
  /** Who asked for the payment page: an IPv4 address, or the /64 of an IPv6 address. Null when nobody did. */
  readonly clientAddress: string | null;
  readonly fingerprint: string;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly checkedAt: Date;
  readonly paidAt: Date | null;
  /** Whether the payment page adds the tax that Stripe computes. */
  readonly automaticTax: boolean;
  /** The tax that was paid beside the charge; zero until then, and without tax. */
  readonly taxMicros: MicroUsd;
  /** Stripe's pages about the payment; null until it is paid. */
  readonly invoiceUrl: string | null;
  readonly receiptUrl: string | null;
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
  /** The bank refused the saved card. */
  'card_declined',
  /** The bank wants the customer to confirm; a payment page waits for her. */
  'authentication_required',
  /** Stripe cannot charge the saved card: it was removed, or its customer was. */
  'card_unusable',
  /** Auto top-up was switched off or changed before the card was charged. */
  'withdrawn',
  /** Stripe was never reached, and nothing was charged. */
  'not_charged',
  /** Stripe's word contradicts the quote. */
  'payment_mismatch',
  /** Support looked at such a payment, and it brings no credit. */
  'payment_rejected',
] as const;

export type TopUpFailure = (typeof TOP_UP_FAILURES)[number];
