import type { UsdCents } from '../../platform/common/money.js';

/** A charge of a saved card without the customer present. The same values under the same key are the same charge. */
export type NewOffSessionPayment = {
  readonly topUpId: string;
  readonly accountId: string;
  readonly customerId: string;
  readonly paymentMethodId: string;
  readonly amountCents: UsdCents;
  readonly description: string;
};

/** Why a charge was declined, in Stripe's codes. Stripe may add values to each of them. */
export type CardDecline = {
  /** Stripe's code: `card_declined`, `expired_card`, `authentication_required` … */
  readonly code: string;
  /** The issuer's code: `insufficient_funds`, `lost_card` …; null when there is none besides `code`. */
  readonly declineCode: string | null;
  /** What the card network allows next: `try_again_later`, `do_not_try_again`, `confirm_card_data`; null without advice. */
  readonly adviceCode: string | null;
};

/** A PaymentIntent as Stripe reports it now. */
export type PaymentIntent = {
  readonly id: string;
  readonly livemode: boolean;
  /** `succeeded`, `processing`, `requires_payment_method`, `requires_action`, `canceled` …; Stripe may add values. */
  readonly status: string;
  readonly currency: string;
  readonly amountCents: UsdCents | null;
  readonly amountReceivedCents: UsdCents | null;
  readonly customerId: string | null;
  readonly paymentMethodId: string | null;
  /** Our id from its metadata; null for payments that other systems make on the same Stripe account. */
  readonly topUpId: string | null;
  /** Why the last attempt was declined; null when it was not. */
  readonly decline: CardDecline | null;
};

/** A card that Stripe stores for us, as Stripe reports it now. */
export type ProviderCard = {
  readonly id: string;
  readonly livemode: boolean;
  /** Null when no customer has it attached; then it cannot be charged. */
  readonly customerId: string | null;
  readonly brand: string;
  readonly last4: string;
  readonly expMonth: number;
  readonly expYear: number;
};

/** Payments without the customer. Every method throws what the `PaymentGateway` throws. */
export interface OffSessionPayments {
  /**
   * Charges the card, and returns the intent whether it was paid or declined. After `PaymentsUnavailableError` it is
   * unknown whether the card was charged: check with `find`, or repeat the same request under the same key within a day.
   */
  charge(payment: NewOffSessionPayment, idempotencyKey: string): Promise<PaymentIntent>;
  /** Returns null when there is no such intent. */
  retrieve(id: string): Promise<PaymentIntent | null>;
  /** Finds the intent that was created for this top-up. Returns null when Stripe has none since `sinceMs`. */
  find(customerId: string, topUpId: string, sinceMs: number): Promise<PaymentIntent | null>;
  /** Returns null when there is no such payment method, or when it is not a card. */
  retrieveCard(paymentMethodId: string): Promise<ProviderCard | null>;
  /** Detaches the card from its customer, so that it can no longer be charged. Does nothing when it is not attached. */
  detachCard(paymentMethodId: string): Promise<void>;
}

export const OFF_SESSION_PAYMENTS = Symbol('OFF_SESSION_PAYMENTS');
