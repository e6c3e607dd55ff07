import { Injectable } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { cents, type UsdCents } from '../../platform/common/money.js';
import { METADATA_TOP_UP } from './payment-gateway.js';
import { fetchPage, type ListPage, type ListPageRequest } from './list-window.js';
import { PaymentsUnavailableError } from './payments.errors.js';
import { StripeApi } from './stripe-api.js';

const SECOND_MS = 1_000;

/** Reads Stripe's balance transactions. */
@Injectable()
export class StripeBalanceList {
  constructor(private readonly api: StripeApi) {}

  /** Whether the key moves real money. */
  get livemode(): boolean {
    return this.api.livemode;
  }

  /** Whether there is a key; without one Stripe cannot be asked. */
  get configured(): boolean {
    return this.api.configured;
  }

  /** Throws `ListCursorLostError`, and what the `PaymentGateway` throws. */
  async page(request: ListPageRequest): Promise<ListPage<BalanceTransaction>> {
    // The source names the payment, and our books are searched for the customer's part by that payment.
    const expand = ['data.source'];
    const page = await fetchPage(request, (params) =>
      this.api.call('list', (stripe) => stripe.balanceTransactions.list({ ...params, expand })),
    );
    return { ...page, items: page.items.map(toBalanceTransaction) };
  }
}

function toBalanceTransaction(moved: Stripe.BalanceTransaction): BalanceTransaction {
  const { source } = moved;
  if (moved.net !== moved.amount - moved.fee) {
    throw new PaymentsUnavailableError(new Error(`the net of ${moved.id} is not its amount less its fee`));
  }
  return {
    id: moved.id,
    type: moved.type,
    reportingCategory: moved.reporting_category,
    currency: moved.currency,
    amountCents: toCents(moved.id, moved.amount),
    feeCents: toCents(moved.id, moved.fee),
    netCents: toCents(moved.id, moved.net),
    sourceId: typeof source === 'string' ? source : (source?.id ?? null),
    paymentIntentId: findPaymentIntentId(source),
    topUpId: findTopUpId(source),
    createdAt: new Date(moved.created * SECOND_MS),
  };
}

/** Amounts are booked to the cent, so an answer with anything else is invalid. */
function toCents(id: string, amount: number): UsdCents {
  if (Number.isSafeInteger(amount)) return cents(BigInt(amount));
  throw new PaymentsUnavailableError(
    new Error(`the amount ${amount} of ${id} is not a whole number of cents`),
  );
}

function findPaymentIntentId(source: Stripe.BalanceTransaction['source']): string | null {
  if (source === null || typeof source === 'string' || !('payment_intent' in source)) return null;
  const intent = source.payment_intent;
  return typeof intent === 'string' ? intent : (intent?.id ?? null);
}

function findTopUpId(source: Stripe.BalanceTransaction['source']): string | null {
  if (source === null || typeof source === 'string' || source.object !== 'charge') return null;
  return source.metadata[METADATA_TOP_UP] ?? null;
}

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
