import { newBalanceTransaction, processingFeeCents } from './balance-transactions.js';
import { nowSeconds, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import { receiptPageUrl } from './invoices.js';
import { listParameters, page } from './lists.js';
import type { BalanceTransaction, Charge, PaymentIntent, PaymentMethod } from './objects.js';
import { operation, type Operation } from './operation.js';
import { notSimulated, isWithin, optional, text, timeRange } from './parameter-schema.js';
import type { Decline } from './test-cards.js';

export type ChargeAttempt = {
  readonly method: PaymentMethod;
  /** Null when the card pays. */
  readonly decline: Decline | null;
};

/** One attempt to collect a PaymentIntent with a card; stored, with its balance transaction when it paid. */
export function createCharge(
  context: SandboxContext,
  intent: PaymentIntent,
  { method, decline }: ChargeAttempt,
): Charge {
  const paid = decline === null;
  const id = stripeId('ch');
  const balanceTransaction = paid ? collect(context, id, intent) : null;
  const charge: Charge = {
    id,
    object: 'charge',
    amount: intent.amount,
    amount_captured: paid ? intent.amount : 0,
    amount_refunded: 0,
    application: null,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: balanceTransaction?.id ?? null,
    billing_details: method.billing_details,
    calculated_statement_descriptor: 'SANDBOX',
    captured: paid,
    created: nowSeconds(context),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: decline?.code ?? null,
    failure_message: decline?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: intent.metadata,
    on_behalf_of: null,
    outcome: outcomeOf(decline),
    paid,
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: { card: cardDetails(method, paid ? intent.amount : null), type: 'card' },
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: paid ? receiptPageUrl(context, id) : null,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: intent.statement_descriptor,
    statement_descriptor_suffix: intent.statement_descriptor_suffix,
    status: paid ? 'succeeded' : 'failed',
    transfer_data: null,
    transfer_group: null,
  };
  context.store.charges.put(charge);
  return charge;
}

function collect(context: SandboxContext, chargeId: string, intent: PaymentIntent): BalanceTransaction {
  return newBalanceTransaction(context, {
    type: 'charge',
    reportingCategory: 'charge',
    amountCents: intent.amount,
    fee: { cents: processingFeeCents(intent.amount), description: 'Stripe processing fees' },
    source: chargeId,
    description: intent.description,
  });
}

export function putCharge(context: SandboxContext, charge: Charge, changes: Partial<Charge>): Charge {
  const changed = { ...charge, ...changes };
  context.store.charges.put(changed);
  return changed;
}

function outcomeOf(decline: Decline | null): Charge['outcome'] {
  const declined = decline !== null;
  return {
    advice_code: decline?.adviceCode ?? null,
    network_advice_code: null,
    network_decline_code: decline?.networkDeclineCode ?? null,
    network_status: declined ? 'declined_by_network' : 'approved_by_network',
    reason: decline === null ? null : (decline.declineCode ?? decline.code),
    risk_level: 'normal',
    risk_score: 1,
    seller_message: declined
      ? 'The bank did not return any further details with this decline.'
      : 'Payment complete.',
    type: declined ? 'issuer_declined' : 'authorized',
  };
}

function cardDetails(
  method: PaymentMethod,
  authorizedCents: number | null,
): Readonly<Record<string, unknown>> {
  const { brand, checks, country, exp_month, exp_year, fingerprint, funding, last4 } = method.card;
  return {
    amount_authorized: authorizedCents,
    brand,
    checks,
    country,
    exp_month,
    exp_year,
    fingerprint,
    funding,
    installments: null,
    last4,
    mandate: null,
    network: brand,
    three_d_secure: null,
    wallet: null,
  };
}

export const chargeOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/charges/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const charge = context.store.charges.get(id);
      if (charge === undefined) throw resourceMissing('charge', id, 'id', 404);
      return charge;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/charges',
    parameters: {
      ...listParameters,
      created: optional(timeRange()),
      customer: optional(text()),
      payment_intent: optional(text()),
      transfer_group: notSimulated,
    },
    run: (context, params) => {
      const { created, customer, payment_intent: paymentIntent } = params;
      const wanted = context.store.charges.newestFirst().filter((charge) => {
        if (!isWithin(created, charge.created)) return false;
        if (customer !== undefined && charge.customer !== customer) return false;
        return paymentIntent === undefined || charge.payment_intent === paymentIntent;
      });
      return page(wanted, params, '/v1/charges', 'charge');
    },
  }),
];
