import { Injectable } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { cents, type UsdCents } from '../../../platform/common/money.js';
import { METADATA_TOP_UP } from '../payment-gateway.js';
import { askPage, type ListPage, type ListPageRequest } from '../list-window.js';
import { PaymentsUnavailableError } from '../payments.errors.js';
import { StripeApi } from '../stripe-api.js';
import type { BalanceTransaction } from './balance-transaction.js';

const SECOND_MS = 1_000;

/** Reads Stripe's balance transactions. */
@Injectable()
export class StripeBalanceList {
  constructor(private readonly api: StripeApi) {}

  /** Whether the key moves real money. */
  get livemode(): boolean {
    return this.api.livemode;
  }

  /** Without a key nothing can be asked. */
  get configured(): boolean {
    return this.api.configured;
  }

  /** Throws `ListCursorLostError`, and what the `PaymentGateway` throws. */
  async page(request: ListPageRequest): Promise<ListPage<BalanceTransaction>> {
    // The source names the payment, by which the customer's part of the money is found in our books.
    const expand = ['data.source'];
    const page = await askPage(request, (params) =>
      this.api.call('list', (stripe) => stripe.balanceTransactions.list({ ...params, expand })),
    );
    return { ...page, items: page.items.map(toBalanceTransaction) };
  }
}

function toBalanceTransaction(told: Stripe.BalanceTransaction): BalanceTransaction {
  const { source } = told;
  if (told.net !== told.amount - told.fee) {
    throw new PaymentsUnavailableError(
      new Error(`${told.id} is told with a net that is not amount less fee`),
    );
  }
  return {
    id: told.id,
    type: told.type,
    reportingCategory: told.reporting_category,
    currency: told.currency,
    amountCents: toCents(told.id, told.amount),
    feeCents: toCents(told.id, told.fee),
    netCents: toCents(told.id, told.net),
    sourceId: typeof source === 'string' ? source : (source?.id ?? null),
    paymentIntentId: paymentIntentOf(source),
    topUpId: topUpOf(source),
    createdAt: new Date(told.created * SECOND_MS),
  };
}

/** Booked to the cent, so anything but whole cents is no answer. */
function toCents(id: string, amount: number): UsdCents {
  if (Number.isSafeInteger(amount)) return cents(BigInt(amount));
  throw new PaymentsUnavailableError(new Error(`${id} is told with an amount of ${amount}`));
}

function paymentIntentOf(source: Stripe.BalanceTransaction['source']): string | null {
  if (source === null || typeof source === 'string' || !('payment_intent' in source)) return null;
  const intent = source.payment_intent;
  return typeof intent === 'string' ? intent : (intent?.id ?? null);
}

function topUpOf(source: Stripe.BalanceTransaction['source']): string | null {
  if (source === null || typeof source === 'string' || source.object !== 'charge') return null;
  return source.metadata[METADATA_TOP_UP] ?? null;
}
