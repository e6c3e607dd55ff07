import { Injectable } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { cents, type UsdCents } from '../../common/money.js';
import { METADATA_TOP_UP } from '../payment-gateway.js';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from '../payments.errors.js';
import { StripeApi } from '../stripe-api.js';
import type { BalanceTransaction } from './balance-transaction.js';

/** The most that Stripe answers in one page. */
const PAGE_SIZE = 100;
const SECOND_MS = 1_000;

export type BalancePageRequest = {
  /** Both ends are inside; Stripe knows whole seconds. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** Goes on behind this balance transaction, towards older ones. */
  readonly afterId: string | null;
};

export type BalancePage = {
  /** Newest first. */
  readonly transactions: readonly BalanceTransaction[];
  /** Where the next page begins; null when this was the last one. */
  readonly nextAfterId: string | null;
};

/** The cursor's balance transaction is unknown to Stripe: it was of another Stripe account. */
export class BalanceCursorLostError extends Error {
  constructor(afterId: string, cause: unknown) {
    super(`Stripe does not know the balance transaction ${afterId}`, { cause });
    this.name = 'BalanceCursorLostError';
  }
}

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

  /** Throws `BalanceCursorLostError`, and what the `PaymentGateway` throws. */
  async page({ fromMs, untilMs, afterId }: BalancePageRequest): Promise<BalancePage> {
    const params: Stripe.BalanceTransactionListParams = {
      created: { gte: Math.floor(fromMs / SECOND_MS), lte: Math.floor(untilMs / SECOND_MS) },
      limit: PAGE_SIZE,
      // The source names the payment, by which the customer's part of the money is found in our books.
      expand: ['data.source'],
      ...(afterId === null ? {} : { starting_after: afterId }),
    };
    try {
      const list = await this.api.call('list', (stripe) => stripe.balanceTransactions.list(params));
      const last = list.data.at(-1);
      if (list.has_more && last === undefined) {
        throw new PaymentsUnavailableError(new Error('Stripe answered an empty page and promised more'));
      }
      return {
        transactions: list.data.map(toBalanceTransaction),
        nextAfterId: list.has_more ? (last?.id ?? null) : null,
      };
    } catch (error) {
      const isRefused = error instanceof PaymentRequestRefusedError && error.param === 'starting_after';
      if (afterId === null || !isRefused) throw error;
      throw new BalanceCursorLostError(afterId, error);
    }
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
