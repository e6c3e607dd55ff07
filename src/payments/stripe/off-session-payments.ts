import type { UsdCents } from '../../platform/common/money.js';

/** A charge of a saved card while the customer is not there. The same values under the same key are the same charge. */
export type NewOffSessionPayment = {
  readonly topUpId: string;
  readonly accountId: string;
  readonly customerId: string;
  readonly paymentMethodId: string;
  readonly amountCents: UsdCents;
  readonly description: string;
};

/** Why a card did not pay, in Stripe's words; each an open set. */
export type CardDecline = {
  /** Stripe's: `card_declined`, `expired_card`, `authentication_required` … */
  readonly code: string;
  /** The issuer's: `insufficient_funds`, `lost_card` …; null when `code` says it all. */
  readonly declineCode: string | null;
  /** What the network allows next: `try_again_later`, `do_not_try_again`, `confirm_card_data`; null when nothing is said. */
  readonly adviceCode: string | null;
};

/** A PaymentIntent as Stripe tells it now. */
export type PaymentIntent = {
  readonly id: string;
  readonly livemode: boolean;
  /** `succeeded`, `processing`, `requires_payment_method`, `requires_action`, `canceled` …; Stripe adds values. */
  readonly status: string;
  readonly currency: string;
  readonly amountCents: UsdCents | null;
  readonly amountReceivedCents: UsdCents | null;
  readonly customerId: string | null;
  readonly paymentMethodId: string | null;
  /** Ours, by its metadata; null for what other systems charge on the same account. */
  readonly topUpId: string | null;
  /** Of the last attempt; null when none was refused. */
  readonly decline: CardDecline | null;
};

/** A card that Stripe keeps for us, as it tells now. */
export type ProviderCard = {
  readonly id: string;
  readonly livemode: boolean;
  /** Null when it is attached to nobody (any more): then it cannot be charged. */
  readonly customerId: string | null;
  readonly brand: string;
  readonly last4: string;
  readonly expMonth: number;
  readonly expYear: number;
};

/** Payments without the customer. Every method throws what the `PaymentGateway` throws. */
export interface OffSessionPayments {
  /**
   * Charges the card, and answers the intent whether it paid or was declined. After `PaymentsUnavailableError` it may
   * have happened or not: look with `find`, or repeat it word for word under the same key within a day.
   */
  charge(payment: NewOffSessionPayment, idempotencyKey: string): Promise<PaymentIntent>;
  /** Null when there is no such intent. */
  retrieve(id: string): Promise<PaymentIntent | null>;
  /** The intent that was made for this top-up; null when Stripe has none since `sinceMs`. */
  find(customerId: string, topUpId: string, sinceMs: number): Promise<PaymentIntent | null>;
  /** Null when there is no such payment method, or when it is no card. */
  retrieveCard(paymentMethodId: string): Promise<ProviderCard | null>;
  /** Takes the card from its customer: nobody can charge it any more. Does nothing when it is attached to nobody. */
  detachCard(paymentMethodId: string): Promise<void>;
}

export const OFF_SESSION_PAYMENTS = Symbol('OFF_SESSION_PAYMENTS');
