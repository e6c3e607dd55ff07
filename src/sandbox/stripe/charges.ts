import { newBalanceTransaction } from './balance-transactions.js';
import { nowSeconds, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { Charge, PaymentIntent } from './objects.js';
import { operation, type Operation } from './operation.js';
import { notSimulated, isWithin, optional, text, timeRange } from './parameter-schema.js';
import type { CardOutcome, TestCard } from './test-cards.js';

/** One attempt to collect a PaymentIntent with a card; stored, with its balance transaction when it paid. */
export function createCharge(
  context: SandboxContext,
  intent: PaymentIntent,
  card: TestCard,
  billingDetails: Charge['billing_details'],
): Charge {
  const { outcome } = card;
  const paid = outcome.kind === 'paid';
  const id = stripeId('ch');
  const balanceTransaction = paid ? newBalanceTransaction(context, id, intent) : null;
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
    billing_details: billingDetails,
    calculated_statement_descriptor: 'SANDBOX',
    captured: paid,
    created: nowSeconds(context),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: outcome.kind === 'declined' ? outcome.code : null,
    failure_message: outcome.kind === 'declined' ? outcome.message : null,
    fraud_details: {},
    livemode: false,
    metadata: intent.metadata,
    on_behalf_of: null,
    outcome: chargeOutcome(outcome),
    paid,
    payment_intent: intent.id,
    payment_method: stripeId('pm'),
    payment_method_details: { card: cardDetails(card, intent.amount), type: 'card' },
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: null,
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

function chargeOutcome(outcome: CardOutcome): Charge['outcome'] {
  const declined = outcome.kind === 'declined';
  return {
    advice_code: declined ? 'try_again_later' : null,
    network_advice_code: null,
    network_decline_code: declined ? '01' : null,
    network_status: declined ? 'declined_by_network' : 'approved_by_network',
    reason: declined ? outcome.declineCode : null,
    risk_level: 'normal',
    risk_score: 1,
    seller_message: declined
      ? 'The bank did not return any further details with this decline.'
      : 'Payment complete.',
    type: declined ? 'issuer_declined' : 'authorized',
  };
}

function cardDetails(card: TestCard, amountCents: number): Readonly<Record<string, unknown>> {
  return {
    amount_authorized: card.outcome.kind === 'paid' ? amountCents : null,
    brand: card.brand,
    checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
    country: 'US',
    exp_month: 12,
    exp_year: 2034,
    fingerprint: `sandbox${card.number.slice(-4)}`,
    funding: 'credit',
    installments: null,
    last4: card.number.slice(-4),
    mandate: null,
    network: card.brand,
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
