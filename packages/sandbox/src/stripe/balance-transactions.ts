import { divHalfUp } from '../money.js';
import { currentBalanceTransaction } from './balance-availability.js';
import { nowSeconds, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { BalanceTransaction, BalanceTransactionType } from './objects.js';
import { operation, type Operation } from './operation.js';
import { currency, isWithin, optional, text, timeRange } from './parameter-schema.js';

/** Stripe's list price for US cards: 2.9% and 30 cents. It stays with Stripe when the charge is refunded. */
const FEE_PER_MILLE = 29n;
const FEE_FIXED_CENTS = 30n;
/** Money from a charge can be paid out after two days. */
const AVAILABLE_AFTER_SECONDS = 2 * 24 * 60 * 60;

/** It is in cents, like `amountCents`, and rounded half up. Stripe reports this fee, and no other code computes it again. */
export function processingFeeCents(amountCents: number): number {
  return Number(divHalfUp(BigInt(amountCents) * FEE_PER_MILLE, 1_000n) + FEE_FIXED_CENTS);
}

export type BalanceMovement = {
  readonly type: BalanceTransactionType;
  readonly reportingCategory: string;
  /** Cents; positive into the Stripe balance, negative out of it. */
  readonly amountCents: number;
  readonly fee?: { readonly cents: number; readonly description: string };
  /** The id of the charge, refund, dispute or payout that moved the money. */
  readonly source: string;
  readonly description: string | null;
};

/** Moves the Stripe balance: stored, and answered. */
export function newBalanceTransaction(
  context: SandboxContext,
  movement: BalanceMovement,
): BalanceTransaction {
  const { type, reportingCategory, amountCents, fee, source, description } = movement;
  const created = nowSeconds(context);
  const feeCents = fee?.cents ?? 0;
  const feeDetail = { amount: feeCents, application: null, currency: 'usd', type: 'stripe_fee' };
  const transaction: BalanceTransaction = {
    id: stripeId('txn'),
    object: 'balance_transaction',
    amount: amountCents,
    // Only what comes in waits; what goes out is gone at once.
    available_on: type === 'charge' ? created + AVAILABLE_AFTER_SECONDS : created,
    balance_type: 'payments',
    created,
    currency: 'usd',
    description,
    exchange_rate: null,
    fee: feeCents,
    fee_details: fee === undefined ? [] : [{ ...feeDetail, description: fee.description }],
    net: amountCents - feeCents,
    reporting_category: reportingCategory,
    source,
    status: 'pending',
    type,
  };
  context.store.balanceTransactions.put(transaction);
  return transaction;
}

export const balanceTransactionOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/balance_transactions/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const transaction = context.store.balanceTransactions.get(id);
      if (transaction === undefined) throw resourceMissing('balance transaction', id, 'id', 404);
      return currentBalanceTransaction(context, transaction);
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/balance_transactions',
    parameters: {
      ...listParameters,
      created: optional(timeRange()),
      currency: optional(currency()),
      payout: optional(text()),
      source: optional(text()),
      type: optional(text(100)),
    },
    run: (context, params) => {
      const { created, payout, source, type } = params;
      const inPayout = payout === undefined ? null : transactionIdsOf(context, payout);
      const wanted = context.store.balanceTransactions.newestFirst().filter((transaction) => {
        if (!isWithin(created, transaction.created)) return false;
        if (inPayout !== null && !inPayout.has(transaction.id)) return false;
        if (source !== undefined && transaction.source !== source) return false;
        return type === undefined || transaction.type === type;
      });
      const found = page(wanted, params, '/v1/balance_transactions', 'balance transaction');
      const data = found.data.map((transaction) =>
        currentBalanceTransaction(context, transaction as BalanceTransaction),
      );
      return { ...found, data };
    },
  }),
];

/** The payout's own transaction is one of them, as at Stripe. */
function transactionIdsOf(context: SandboxContext, payoutId: string): ReadonlySet<string> {
  const record = context.store.payouts.get(payoutId);
  if (record === undefined) throw resourceMissing('payout', payoutId, 'payout', 400);
  return new Set([...record.transactionIds, record.object.balance_transaction]);
}
