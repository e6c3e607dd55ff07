import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import type { TopUpFeeMode } from '../../platform/config/settings.js';
import type { TopUpStatus } from './top-up.machine.js';

/** A top-up is paid on a payment page, or with a saved card without the customer present. */
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
  /** Whether it is paid with real money. */
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
  /** When the request to charge the card was about to be sent. From then on the charge may exist. */
  readonly dispatchedAt: Date | null;
  readonly failureCode: TopUpFailure | null;
  /** The issuer's reason, such as `insufficient_funds`. */
  readonly declineCode: string | null;
  readonly idempotencyKey: string | null;
  /** The IPv4 address, or the /64 of the IPv6 address, that requested the payment page. Null when the service itself did. */
  readonly clientAddress: string | null;
  readonly fingerprint: string;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly checkedAt: Date;
  readonly paidAt: Date | null;
  /** Whether the payment page adds the tax that Stripe computes. */
  readonly automaticTax: boolean;
  /** The tax that was paid in addition to the charge; zero until it is paid, and without tax. */
  readonly taxMicros: MicroUsd;
  /** Stripe's pages about the payment; null until it is paid. */
  readonly invoiceUrl: string | null;
  readonly receiptUrl: string | null;
};

/** Why a top-up is not paid, for the customer and for support. */
export const TOP_UP_FAILURES = [
  /** Stripe could not be reached when the top-up was requested. */
  'payments_unavailable',
  /** Stripe refused to open a payment page. */
  'checkout_refused',
  /** No payment page was opened before the top-up expired. */
  'checkout_not_opened',
  /** A delayed payment failed in the end. */
  'payment_failed',
  /** The bank refused the saved card. */
  'card_declined',
  /** The bank wants the customer to confirm. A payment page is open for them. */
  'authentication_required',
  /** Stripe cannot charge the saved card: it was removed, or its customer was. */
  'card_unusable',
  /** Auto top-up was switched off or changed before the card was charged. */
  'withdrawn',
  /** Stripe was never reached, and nothing was charged. */
  'not_charged',
  /** Stripe's record contradicts the quote. */
  'payment_mismatch',
  /** An operator decided that such a payment brings no credit. */
  'payment_rejected',
] as const;

export type TopUpFailure = (typeof TOP_UP_FAILURES)[number];

/** The text that the customer agrees to with `save_card`. */
export const SAVED_CARD_WORDS = {
  version: '2026-11-22',
  text: 'I agree that this card is kept by Stripe for later payments that I ask for or switch on, until I have it removed.',
} as const;
