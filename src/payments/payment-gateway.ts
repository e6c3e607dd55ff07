import type { UsdCents } from '../common/money.js';

/** What a customer pays for in one go; Stripe shows each item as a line. */
export type LineItem = { readonly name: string; readonly amountCents: UsdCents };

export type NewCheckoutSession = {
  readonly topUpId: string;
  readonly accountId: string;
  readonly customerId: string;
  readonly description: string;
  readonly lineItems: readonly LineItem[];
  /** Keeps the card for payments without the customer present. */
  readonly saveCard: boolean;
  readonly successUrl: string;
  readonly cancelUrl: string;
  /** Stripe takes 30 minutes to 24 hours from its own now. */
  readonly expiresAtMs: number;
};

/** A Checkout Session as Stripe tells it now. Statuses are open sets: Stripe adds values. */
export type CheckoutSession = {
  readonly id: string;
  readonly livemode: boolean;
  /** `open`, `complete` or `expired`. */
  readonly status: string | null;
  /** `paid`, `unpaid` (a delayed method, or not paid yet) or `no_payment_required`. */
  readonly paymentStatus: string;
  readonly currency: string | null;
  readonly amountSubtotalCents: UsdCents | null;
  readonly amountTotalCents: UsdCents | null;
  readonly clientReferenceId: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the customer pays; null once nobody can. */
  readonly url: string | null;
  readonly paymentIntentId: string | null;
  /** Of the PaymentIntent: `processing`, `succeeded`, `requires_payment_method`, `canceled` … */
  readonly paymentIntentStatus: string | null;
};

/**
 * What the product needs of a payment provider. Amounts are whole US cents.
 *
 * Every method throws `PaymentsUnavailableError` when the provider cannot be reached or answers nonsense (what
 * it did is then unknown, and the same call with the same key may be repeated), and
 * `PaymentRequestRefusedError` when it refuses the request for good.
 */
export interface PaymentGateway {
  /** Whether the key moves real money. */
  readonly livemode: boolean;
  /** Answers the id of the new customer. */
  createCustomer(accountId: string, idempotencyKey: string): Promise<string>;
  /** Throws `CustomerMissingError` when the provider does not know the customer (any more). */
  createCheckoutSession(session: NewCheckoutSession, idempotencyKey: string): Promise<CheckoutSession>;
  /** Null when there is no such session. */
  retrieveCheckoutSession(id: string): Promise<CheckoutSession | null>;
  /** Lets nobody pay it any more. A session that is not open is refused. */
  expireCheckoutSession(id: string): Promise<CheckoutSession>;
}

export const PAYMENT_GATEWAY = Symbol('PAYMENT_GATEWAY');

/** The names under which our ids stand on Stripe's objects. */
export const METADATA_TOP_UP = 'top_up_id';
export const METADATA_ACCOUNT = 'account_id';
