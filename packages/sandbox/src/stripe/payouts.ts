import { newBalanceTransaction } from './balance-transactions.js';
import { CAUSED_BY_NO_REQUEST, nowSeconds, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { emitEvent } from './events.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { Payout } from './money-out-objects.js';
import type { BalanceTransaction } from './objects.js';
import { operation, type Operation } from './operation.js';
import { choice, isWithin, optional, text, timeRange } from './parameter-schema.js';
import type { PayoutRecord } from './store.js';

/** One bank account, the same for every payout of the simulator. */
const BANK_ACCOUNT_ID = 'ba_sandbox_bank_account';

export class NothingToPayOutError extends Error {
  constructor() {
    super('the balance is zero: Stripe makes no payout then, and keeps what made it zero for the next one');
    this.name = 'NothingToPayOutError';
  }
}

/**
 * An automatic payout of everything that no payout carried away yet, as if its two days had passed. More
 * refunds and disputes than charges make it negative: Stripe then takes the money from the bank account.
 */
export function payOut(context: SandboxContext): Payout {
  const transactions = unpaidTransactions(context);
  const amountCents = transactions.reduce((sum, transaction) => sum + transaction.net, 0);
  if (amountCents === 0) throw new NothingToPayOutError();
  const now = nowSeconds(context);
  for (const transaction of transactions) {
    if (transaction.available_on <= now) continue;
    context.store.balanceTransactions.put({ ...transaction, available_on: now });
  }
  const object = newPayout(context, amountCents);
  emitEvent(context, 'payout.created', object, CAUSED_BY_NO_REQUEST);
  const record: PayoutRecord = { id: object.id, object, transactionIds: transactions.map(({ id }) => id) };
  const paid = putPayout(context, record, { status: 'paid' });
  emitEvent(context, 'payout.paid', paid, CAUSED_BY_NO_REQUEST, { status: 'pending' });
  const reconciled = putPayout(context, { ...record, object: paid }, { reconciliation_status: 'completed' });
  emitEvent(context, 'payout.reconciliation_completed', reconciled, CAUSED_BY_NO_REQUEST);
  return reconciled;
}

/** The bank refuses a payout that was on its way: the money is on the balance again, for the next one. */
export function failPayout(context: SandboxContext, record: PayoutRecord): Payout {
  const returned = newBalanceTransaction(context, {
    type: 'payout_failure',
    reportingCategory: 'payout_reversal',
    amountCents: record.object.amount,
    source: record.id,
    description: 'STRIPE PAYOUT',
  });
  const failed = putPayout(context, record, {
    failure_balance_transaction: returned.id,
    failure_code: 'account_closed',
    failure_message: 'The bank account has been closed.',
    status: 'failed',
  });
  emitEvent(context, 'payout.failed', failed, CAUSED_BY_NO_REQUEST, { status: record.object.status });
  return failed;
}

function unpaidTransactions(context: SandboxContext): readonly BalanceTransaction[] {
  const paidOut = new Set(context.store.payouts.oldestFirst().flatMap((record) => record.transactionIds));
  return context.store.balanceTransactions
    .oldestFirst()
    .filter(({ id, type }) => type !== 'payout' && !paidOut.has(id));
}

function newPayout(context: SandboxContext, amountCents: number): Payout {
  const id = stripeId('po');
  const created = nowSeconds(context);
  const transaction = newBalanceTransaction(context, {
    type: 'payout',
    reportingCategory: 'payout',
    amountCents: -amountCents,
    source: id,
    description: 'STRIPE PAYOUT',
  });
  return {
    id,
    object: 'payout',
    amount: amountCents,
    application_fee: null,
    application_fee_amount: null,
    arrival_date: created,
    automatic: true,
    balance_transaction: transaction.id,
    created,
    currency: 'usd',
    description: 'STRIPE PAYOUT',
    destination: BANK_ACCOUNT_ID,
    failure_balance_transaction: null,
    failure_code: null,
    failure_message: null,
    livemode: false,
    metadata: {},
    method: 'standard',
    original_payout: null,
    payout_method: null,
    reconciliation_status: 'in_progress',
    reversed_by: null,
    source_type: 'card',
    statement_descriptor: null,
    status: 'pending',
    trace_id: null,
    type: 'bank_account',
  };
}

function putPayout(context: SandboxContext, record: PayoutRecord, changes: Partial<Payout>): Payout {
  const object = { ...record.object, ...changes };
  context.store.payouts.put({ ...record, object });
  return object;
}

export const payoutOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/payouts/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const record = context.store.payouts.get(id);
      if (record === undefined) throw resourceMissing('payout', id, 'payout', 404);
      return record.object;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/payouts',
    parameters: {
      ...listParameters,
      arrival_date: optional(timeRange()),
      created: optional(timeRange()),
      destination: optional(text()),
      status: optional(choice(['canceled', 'failed', 'in_transit', 'paid', 'pending'])),
    },
    run: (context, params) => {
      const { arrival_date: arrivalDate, created, destination, status } = params;
      const payouts = context.store.payouts.newestFirst().map((record) => record.object);
      const wanted = payouts.filter((payout) => {
        if (!isWithin(created, payout.created) || !isWithin(arrivalDate, payout.arrival_date)) return false;
        if (destination !== undefined && payout.destination !== destination) return false;
        return status === undefined || payout.status === status;
      });
      return page(wanted, params, '/v1/payouts', 'payout');
    },
  }),
];
