import type { UsdCents } from '../../platform/common/money.js';

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
  /** Stripe adds sales tax to the items, by the address that the customer gives. */
  readonly automaticTax: boolean;
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
  /** Part of the total; zero without tax, and until Stripe knows where the customer lives. */
  readonly amountTaxCents: UsdCents | null;
  readonly automaticTax: boolean;
  /** `requires_location_inputs`, `complete` or `failed`; null without tax. */
  readonly automaticTaxStatus: string | null;
  readonly clientReferenceId: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the customer pays; null once nobody can. */
  readonly url: string | null;
  readonly paymentIntentId: string | null;
  /** Stripe's pages for the customer, once it is paid. */
  readonly invoiceUrl: string | null;
  readonly receiptUrl: string | null;
  /** Of the PaymentIntent: `processing`, `succeeded`, `requires_payment_method`, `canceled` … */
  readonly paymentIntentStatus: string | null;
};

export type NewRefund = {
  readonly refundId: string;
  readonly topUpId: string;
  readonly accountId: string;
  readonly paymentIntentId: string;
  readonly amountCents: UsdCents;
};

/** A refund as Stripe tells it now. */
export type ProviderRefund = {
  readonly id: string;
  /** `pending`, `requires_action`, `succeeded`, `failed` or `canceled`; Stripe adds values. */
  readonly status: string | null;
  readonly currency: string;
  /** In the smallest unit of that currency. */
  readonly amountCents: UsdCents | null;
  /**
   * What leaves our balance for it, in US cents: its own amount when that is in US dollars, otherwise what its balance
   * transaction says. Null when neither is in US dollars, or Stripe has no balance transaction of it yet.
   */
  readonly takenCents: UsdCents | null;
  readonly paymentIntentId: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly failureReason: string | null;
  /** By the metadata of the PaymentIntent. */
  readonly topUpId: string | null;
};

/** What one balance transaction of a dispute did to our balance. */
export type ProviderDisputeMovement = {
  /** Of the balance transaction. */
  readonly id: string;
  readonly direction: 'taken' | 'given_back';
  /** In US cents, as for a refund. Null when it moved a balance in another currency. */
  readonly amountCents: UsdCents | null;
};

/** A dispute as Stripe tells it now. */
export type ProviderDispute = {
  readonly id: string;
  /** Stripe adds values. */
  readonly status: string;
  readonly reason: string;
  readonly currency: string;
  /** What it takes out of our balance, in US cents, as for a refund. */
  readonly takenCents: UsdCents | null;
  readonly paymentIntentId: string | null;
  /** How often Stripe took its money and gave it back, by its balance transactions, oldest first. */
  readonly movements: readonly ProviderDisputeMovement[];
  /** Whose payment it is, by the metadata of its PaymentIntent; known before our own row names the payment. */
  readonly topUpId: string | null;
};

export type FraudWarning = {
  readonly id: string;
  readonly paymentIntentId: string | null;
  /** Whether a refund could still spare a dispute. */
  readonly actionable: boolean;
  readonly fraudType: string;
  /** By the metadata of the PaymentIntent. */
  readonly topUpId: string | null;
};

/** Whom support and finance find at the provider. An e-mail address is asked for, and kept, by the payment page. */
export type Payer = { readonly accountId: string; readonly name: string };

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
  createCustomer(payer: Payer, idempotencyKey: string): Promise<string>;
  /** Throws `CustomerMissingError` when the provider does not know the customer (any more). */
  createCheckoutSession(session: NewCheckoutSession, idempotencyKey: string): Promise<CheckoutSession>;
  /** Null when there is no such session. */
  retrieveCheckoutSession(id: string): Promise<CheckoutSession | null>;
  /** Lets nobody pay it any more. A session that is not open is refused. */
  expireCheckoutSession(id: string): Promise<CheckoutSession>;
  createRefund(refund: NewRefund, idempotencyKey: string): Promise<ProviderRefund>;
  /** Null when there is no such refund. */
  retrieveRefund(id: string): Promise<ProviderRefund | null>;
  /** Null when there is no such dispute. */
  retrieveDispute(id: string): Promise<ProviderDispute | null>;
  /** Null when there is no such warning. */
  retrieveFraudWarning(id: string): Promise<FraudWarning | null>;
  /** The refunds of one payment, newest first. */
  listRefunds(paymentIntentId: string): Promise<readonly ProviderRefund[]>;
}

export const PAYMENT_GATEWAY = Symbol('PAYMENT_GATEWAY');

/** The names under which our ids stand on Stripe's objects. */
export const METADATA_TOP_UP = 'top_up_id';
export const METADATA_ACCOUNT = 'account_id';
export const METADATA_REFUND = 'refund_id';
