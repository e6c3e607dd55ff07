import { divHalfUp } from '../../common/money.js';
import { nowSeconds, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import type { BalanceTransaction, PaymentIntent } from './objects.js';
import { operation, type Operation } from './operation.js';

/** Stripe's list price for US cards: 2.9% and 30 cents. */
const FEE_PER_MILLE = 29n;
const FEE_FIXED_CENTS = 30n;
/** Money from a charge can be paid out after two days. */
const AVAILABLE_AFTER_SECONDS = 2 * 24 * 60 * 60;

/** What the charge does to the Stripe balance: stored, and answered. */
export function newBalanceTransaction(
  context: SandboxContext,
  chargeId: string,
  intent: PaymentIntent,
): BalanceTransaction {
  // Rounded half up, to the cent: whichever way, the difference is Stripe's, and it is Stripe who states it.
  const feeCents = Number(divHalfUp(BigInt(intent.amount) * FEE_PER_MILLE, 1_000n) + FEE_FIXED_CENTS);
  const created = nowSeconds(context);
  const transaction: BalanceTransaction = {
    id: stripeId('txn'),
    object: 'balance_transaction',
    amount: intent.amount,
    available_on: created + AVAILABLE_AFTER_SECONDS,
    balance_type: 'payments',
    created,
    currency: intent.currency,
    description: intent.description,
    exchange_rate: null,
    fee: feeCents,
    fee_details: [
      {
        amount: feeCents,
        application: null,
        currency: intent.currency,
        description: 'Stripe processing fees',
        type: 'stripe_fee',
      },
    ],
    net: intent.amount - feeCents,
    reporting_category: 'charge',
    source: chargeId,
    status: 'pending',
    type: 'charge',
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
      const isAvailable = transaction.available_on <= nowSeconds(context);
      return { ...transaction, status: isAvailable ? 'available' : 'pending' };
    },
  }),
];
