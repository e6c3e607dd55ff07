import type { UsdCents } from '../../platform/common/money.js';

/** One line of a payment page. A payment covers all of its lines. */
export type LineItem = { readonly name: string; readonly amountCents: UsdCents };

export type NewCheckoutSession = {
  readonly topUpId: string;
  readonly accountId: string;
  readonly customerId: string;
  readonly description: string;
  readonly lineItems: readonly LineItem[];
  /** Whether the card is saved for payments without the customer present. */
  readonly saveCard: boolean;
  /** Whether Stripe adds sales tax to the items, by the address that the customer gives. */
  readonly automaticTax: boolean;
  readonly successUrl: string;
  readonly cancelUrl: string;
  /** Stripe accepts 30 minutes to 24 hours from the time of the request, by its own clock. */
  readonly expiresAtMs: number;
};

/** A Checkout Session as Stripe reports it now. Stripe may add statuses. */
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
  /** The tax within the total. It is zero without tax, and until Stripe knows the customer's address. */
  readonly amountTaxCents: UsdCents | null;
  readonly automaticTax: boolean;
  /** `requires_location_inputs`, `complete` or `failed`; null without tax. */
  readonly automaticTaxStatus: string | null;
  readonly clientReferenceId: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** The page where the customer pays; null once it cannot be paid any more. */
  readonly url: string | null;
  readonly paymentIntentId: string | null;
  /** Stripe's pages for the customer; null until it is paid. */
  readonly invoiceUrl: string | null;
  readonly receiptUrl: string | null;
  /** The status of the PaymentIntent: `processing`, `succeeded`, `requires_payment_method`, `canceled` … */
  readonly paymentIntentStatus: string | null;
};

export type NewRefund = {
  readonly refundId: string;
  readonly topUpId: string;
  readonly accountId: string;
  readonly paymentIntentId: string;
  readonly amountCents: UsdCents;
};

/** A refund as Stripe reports it now. */
export type ProviderRefund = {
  readonly id: string;
  /** `pending`, `requires_action`, `succeeded`, `failed` or `canceled`; Stripe may add values. */
  readonly status: string | null;
  readonly currency: string;
  /** The amount in the smallest unit of that currency. */
  readonly amountCents: UsdCents | null;
  /**
   * What leaves our balance for it, in US cents: its own amount when that is in US dollars, otherwise the amount of its
   * balance transaction. Null when neither is in US dollars, or when Stripe has no balance transaction for it yet.
   */
  readonly takenCents: UsdCents | null;
  readonly paymentIntentId: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly failureReason: string | null;
  /** Our id from the metadata of the PaymentIntent. */
  readonly topUpId: string | null;
};

/** What one balance transaction of a dispute changed in our balance. */
export type ProviderDisputeMovement = {
  /** The id of the balance transaction. */
  readonly id: string;
  readonly direction: 'taken' | 'given_back';
  /** The amount in US cents, as for a refund. Null when it moved a balance in another currency. */
  readonly amountCents: UsdCents | null;
};

/** A dispute as Stripe reports it now. */
export type ProviderDispute = {
  readonly id: string;
  /** Stripe may add values. */
  readonly status: string;
  readonly reason: string;
  readonly currency: string;
  /** What it takes out of our balance, in US cents, as for a refund. */
  readonly takenCents: UsdCents | null;
  readonly paymentIntentId: string | null;
  /** Each time that Stripe took the money or gave it back, by its balance transactions, oldest first. */
  readonly movements: readonly ProviderDisputeMovement[];
  /** Our id from the metadata of its PaymentIntent. It is known before our own row names the payment. */
  readonly topUpId: string | null;
};

export type FraudWarning = {
  readonly id: string;
  readonly paymentIntentId: string | null;
  /** Whether a refund could still prevent a dispute. */
  readonly actionable: boolean;
  readonly fraudType: string;
  /** Our id from the metadata of the PaymentIntent. */
  readonly topUpId: string | null;
};

/** The name by which support and finance find the account at the provider. The payment page asks for an e-mail address and stores it. */
export type Payer = { readonly accountId: string; readonly name: string };

/**
 * What this service needs from a payment provider. Amounts are whole US cents.
 *
 * Every method throws `PaymentsUnavailableError` when the provider cannot be reached or its answer is invalid (it is
 * then unknown what it did, and the same call with the same key may be repeated), and
 * `PaymentRequestRefusedError` when it refuses the request permanently.
 */
export interface PaymentGateway {
  /** Whether the key moves real money. */
  readonly livemode: boolean;
  /** Returns the id of the new customer. */
  createCustomer(payer: Payer, idempotencyKey: string): Promise<string>;
  /** Throws `CustomerMissingError` when the provider does not know the customer. */
  createCheckoutSession(session: NewCheckoutSession, idempotencyKey: string): Promise<CheckoutSession>;
  /** Returns null when there is no such session. */
  retrieveCheckoutSession(id: string): Promise<CheckoutSession | null>;
  /** Closes the page, so that it can no longer be paid. A session that is not open is refused. */
  expireCheckoutSession(id: string): Promise<CheckoutSession>;
  createRefund(refund: NewRefund, idempotencyKey: string): Promise<ProviderRefund>;
  /** Returns null when there is no such refund. */
  retrieveRefund(id: string): Promise<ProviderRefund | null>;
  /** Returns null when there is no such dispute. */
  retrieveDispute(id: string): Promise<ProviderDispute | null>;
  /** Returns null when there is no such warning. */
  retrieveFraudWarning(id: string): Promise<FraudWarning | null>;
  /** Lists the refunds of one payment, newest first. */
  listRefunds(paymentIntentId: string): Promise<readonly ProviderRefund[]>;
}

export const PAYMENT_GATEWAY = Symbol('PAYMENT_GATEWAY');

/** The metadata keys that hold our ids on Stripe's objects. */
export const METADATA_TOP_UP = 'top_up_id';
export const METADATA_ACCOUNT = 'account_id';
export const METADATA_REFUND = 'refund_id';
