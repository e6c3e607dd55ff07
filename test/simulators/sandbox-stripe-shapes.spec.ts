import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, STRIPE_OPERATIONS, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { refusalOf, stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { payTaxed, payTopUp, saveCard } from '../support/payments/sandbox-stripe-money.js';
import { declaredMembers, operationMembers } from '../support/payments/sandbox-stripe-sdk-types.js';

const WARNINGS = 'Radar/EarlyFraudWarnings';
const UPDATE_DISPUTE = ['POST', '/v1/disputes/:id', 'Disputes'] as const;

describe('the parameters about money that goes out are those of the SDK, name by name', () => {
  it.each<[string, string, string, string, readonly string[]]>([
    ['POST', '/v1/refunds', 'Refunds', 'RefundCreateParams', []],
    ['GET', '/v1/refunds', 'Refunds', 'RefundListParams', []],
    ['GET', '/v1/refunds/:id', 'Refunds', 'RefundRetrieveParams', []],
    ['POST', '/v1/refunds/:id', 'Refunds', 'RefundUpdateParams', []],
    ['POST', '/v1/refunds/:id/cancel', 'Refunds', 'RefundCancelParams', []],
    [...UPDATE_DISPUTE, 'DisputeUpdateParams', []],
    [...UPDATE_DISPUTE, 'DisputeUpdateParams.Evidence', ['evidence']],
    ['GET', '/v1/disputes', 'Disputes', 'DisputeListParams', []],
    ['GET', '/v1/disputes/:id', 'Disputes', 'DisputeRetrieveParams', []],
    ['POST', '/v1/disputes/:id/close', 'Disputes', 'DisputeCloseParams', []],
    ['GET', '/v1/radar/early_fraud_warnings', WARNINGS, 'Radar.EarlyFraudWarningListParams', []],
    ['GET', '/v1/radar/early_fraud_warnings/:id', WARNINGS, 'Radar.EarlyFraudWarningRetrieveParams', []],
    ['POST', '/v1/payment_intents', 'PaymentIntents', 'PaymentIntentCreateParams', []],
    [
      'POST',
      '/v1/payment_intents',
      'PaymentIntents',
      'PaymentIntentCreateParams.AutomaticPaymentMethods',
      ['automatic_payment_methods'],
    ],
    ['POST', '/v1/payment_intents/:id/cancel', 'PaymentIntents', 'PaymentIntentCancelParams', []],
    ['GET', '/v1/payment_methods', 'PaymentMethods', 'PaymentMethodListParams', []],
    ['GET', '/v1/payment_methods/:id', 'PaymentMethods', 'PaymentMethodRetrieveParams', []],
    ['POST', '/v1/payment_methods/:id/attach', 'PaymentMethods', 'PaymentMethodAttachParams', []],
    ['POST', '/v1/payment_methods/:id/detach', 'PaymentMethods', 'PaymentMethodDetachParams', []],
    ['GET', '/v1/customers/:id/payment_methods', 'Customers', 'CustomerListPaymentMethodsParams', []],
    ['GET', '/v1/balance_transactions', 'BalanceTransactions', 'BalanceTransactionListParams', []],
    ['GET', '/v1/balance_transactions/:id', 'BalanceTransactions', 'BalanceTransactionRetrieveParams', []],
    ['GET', '/v1/payouts', 'Payouts', 'PayoutListParams', []],
    ['GET', '/v1/invoices/:id', 'Invoices', 'InvoiceRetrieveParams', []],
    [
      'POST',
      '/v1/checkout/sessions',
      'Checkout/Sessions',
      'Checkout.SessionCreateParams.CustomerUpdate',
      ['customer_update'],
    ],
    ['GET', '/v1/payouts/:id', 'Payouts', 'PayoutRetrieveParams', []],
  ])('%s %s: %s %s', (method, route, file, name, nested) => {
    const { required, optional } = declaredMembers(file, name);
    const known = operationMembers(method, route, nested);
    expect([...known].sort()).toEqual([...required, ...optional].sort());
  });
});

describe('the objects about money that goes out carry every member the SDK types promise, and no other', () => {
  let sandbox: SandboxStripe;
  const objects: Record<string, object> = {};

  beforeAll(async () => {
    sandbox = await startSandboxStripe();
    const stripe = stripeSdkFor(sandbox.baseUrl);
    const { customerId, paymentMethodId } = await saveCard(sandbox, stripe);
    const params = { amount: 500, currency: 'usd', customer: customerId, off_session: true, confirm: true };
    objects['intent'] = await stripe.paymentIntents.create({ ...params, payment_method: paymentMethodId });
    const declined = stripe.paymentIntents.create({ ...params, payment_method: 'pm_card_chargeDeclined' });
    const left = (await refusalOf(declined)).payment_intent as Stripe.PaymentIntent;
    objects['lastPaymentError'] = left.last_payment_error ?? {};
    const method = await stripe.paymentMethods.retrieve(paymentMethodId);
    Object.assign(objects, { method, card: method.card, billingDetails: method.billing_details });

    const taxed = await payTaxed(sandbox, stripe);
    const invoice = taxed.invoice as Stripe.Invoice;
    Object.assign(objects, {
      taxed,
      automaticTax: taxed.automatic_tax,
      invoice,
      invoiceTax: invoice.automatic_tax,
      totalTax: invoice.total_taxes?.[0] ?? {},
      invoiceLine: invoice.lines.data[0] ?? {},
      statusTransitions: invoice.status_transitions,
      customer: await stripe.customers.retrieve(taxed.customer as string),
    });

    const { charge } = await payTopUp(sandbox, stripe, '4000000000007726');
    objects['pendingRefund'] = await stripe.refunds.create({ charge: charge.id, amount: 10 });
    const refund = await stripe.refunds.create({ charge: charge.id, amount: 20 });
    await sandbox.control.failRefund(refund.id);
    objects['failedRefund'] = await stripe.refunds.retrieve(refund.id);
    objects['refundedCharge'] = await stripe.charges.retrieve(charge.id);

    const { id } = await sandbox.control.createDispute({ charge: charge.id, status: 'won' });
    const dispute = await stripe.disputes.retrieve(id);
    Object.assign(objects, {
      dispute,
      evidence: dispute.evidence,
      evidenceDetails: dispute.evidence_details,
      disputedCard: dispute.payment_method_details?.card ?? {},
      withdrawal: dispute.balance_transactions[0] ?? {},
      feeDetail: dispute.balance_transactions[0]?.fee_details[0] ?? {},
      warning: await sandbox.control.warnOfFraud(charge.id),
    });
    const { id: payoutId } = await sandbox.control.payOut();
    await sandbox.control.failPayout(payoutId);
    objects['payout'] = await stripe.payouts.retrieve(payoutId);
  });

  afterAll(() => sandbox.close());

  it.each([
    ['intent', 'PaymentIntents', 'PaymentIntent'],
    ['lastPaymentError', 'PaymentIntents', 'PaymentIntent.LastPaymentError'],
    ['method', 'PaymentMethods', 'PaymentMethod'],
    ['card', 'PaymentMethods', 'PaymentMethod.Card'],
    ['billingDetails', 'PaymentMethods', 'PaymentMethod.BillingDetails'],
    ['pendingRefund', 'Refunds', 'Refund'],
    ['failedRefund', 'Refunds', 'Refund'],
    ['refundedCharge', 'Charges', 'Charge'],
    ['dispute', 'Disputes', 'Dispute'],
    ['evidence', 'Disputes', 'Dispute.Evidence'],
    ['evidenceDetails', 'Disputes', 'Dispute.EvidenceDetails'],
    ['disputedCard', 'Disputes', 'Dispute.PaymentMethodDetails.Card'],
    ['withdrawal', 'BalanceTransactions', 'BalanceTransaction'],
    ['feeDetail', 'BalanceTransactions', 'BalanceTransaction.FeeDetail'],
    ['warning', WARNINGS, 'EarlyFraudWarning'],
    ['payout', 'Payouts', 'Payout'],
    ['taxed', 'Checkout/Sessions', 'Session'],
    ['automaticTax', 'Checkout/Sessions', 'Session.AutomaticTax'],
    ['invoice', 'Invoices', 'Invoice'],
    ['invoiceTax', 'Invoices', 'Invoice.AutomaticTax'],
    ['totalTax', 'Invoices', 'Invoice.TotalTax'],
    ['invoiceLine', 'InvoiceLineItems', 'InvoiceLineItem'],
    ['statusTransitions', 'Invoices', 'Invoice.StatusTransitions'],
    ['customer', 'Customers', 'Customer'],
  ])('%s', (kind, file, name) => {
    const { required, optional } = declaredMembers(file, name);
    const members = Object.keys(objects[kind] ?? {});
    expect(required.filter((member) => !members.includes(member))).toEqual([]);
    expect(members.filter((member) => !required.includes(member) && !optional.includes(member))).toEqual([]);
  });

  it('and every operation of the simulator refuses an unknown parameter', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded', authorization: 'Bearer sk_test_x' };
    expect(STRIPE_OPERATIONS.length).toBeGreaterThan(35);
    for (const { method, path } of STRIPE_OPERATIONS) {
      const url = `${sandbox.baseUrl}${path.replace(':id', 'x_1')}`;
      const request = method === 'GET' ? {} : { method, body: 'nobody_knows=1' };
      const answer = await fetch(method === 'GET' ? `${url}?nobody_knows=1` : url, {
        headers: form,
        ...request,
      });
      const body = (await answer.json()) as { error: Record<string, unknown> };
      expect({ path, status: answer.status, code: body.error['code'] }).toEqual({
        path,
        status: 400,
        code: 'parameter_unknown',
      });
    }
  });
});
