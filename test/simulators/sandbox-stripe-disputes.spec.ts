import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { refusalOf, stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { controlRoute, eventsSince, payTopUp, until } from '../support/payments/sandbox-stripe-money.js';

let sandbox: SandboxStripe;
let stripe: Stripe;

beforeAll(async () => {
  sandbox = await startSandboxStripe();
  stripe = stripeSdkFor(sandbox.baseUrl);
});

afterAll(() => sandbox.close());

const count = () => sandbox.control.events().length;
const INQUIRY_CARD = '4000000000001976';

async function disputeOf(charge: Stripe.Charge): Promise<Stripe.Dispute> {
  const { data } = await stripe.disputes.list({ charge: charge.id });
  const [dispute] = data;
  if (dispute === undefined) throw new Error(`no dispute of ${charge.id}`);
  return dispute;
}

/** What a dispute did to the balance, in cents: amounts and fees. */
async function movements(dispute: Pick<Stripe.Dispute, 'id'>): Promise<[string, number, number][]> {
  const { data } = await stripe.balanceTransactions.list({ source: dispute.id });
  return data.map(({ reporting_category: category, amount, fee }) => [category, amount, fee]);
}

const WITHDRAWN: [string, number, number] = ['dispute', -1_050, 1_500];
const REINSTATED: [string, number, number] = ['dispute_reversal', 1_050, 0];

describe('disputes by test card', () => {
  it('takes the money and $15 in the middle of the payment, before the session says that it is complete', async () => {
    const before = count();
    const { charge, intent } = await payTopUp(sandbox, stripe, '4000000000000259');
    expect(eventsSince(sandbox, before)).toEqual([
      'payment_intent.created',
      'charge.succeeded',
      'charge.dispute.created',
      'charge.dispute.funds_withdrawn',
      'payment_intent.succeeded',
      'checkout.session.completed',
    ]);
    const dispute = await disputeOf(charge);
    expect(dispute.id).toMatch(/^du_/);
    expect(dispute).toMatchObject({
      object: 'dispute',
      amount: 1_050,
      balance_transactions: [
        {
          amount: -1_050,
          fee: 1_500,
          fee_details: [{ amount: 1_500, description: 'Dispute fee', type: 'stripe_fee' }],
          net: -2_550,
          reporting_category: 'dispute',
          status: 'available',
          type: 'adjustment',
        },
      ],
      charge: charge.id,
      evidence_details: { has_evidence: false, submission_count: 0, submission_method: 'not_submitted' },
      is_charge_refundable: false,
      payment_intent: intent.id,
      payment_method_details: { card: { case_type: 'chargeback', network_reason_code: '10.4' } },
      reason: 'fraudulent',
      status: 'needs_response',
    });
    expect(dispute.evidence_details.due_by).toBeGreaterThan(dispute.created + 7 * 86_400);
    expect(charge.disputed).toBe(true);
    const refused = await refusalOf(stripe.refunds.create({ charge: charge.id, amount: 1 }));
    expect(refused).toMatchObject({ statusCode: 400, code: 'charge_disputed' });
    expect(refused.message).toBe(`Charge ${charge.id} has been charged back; cannot issue a refund.`);
  });

  it('moves no money for an inquiry, which a refund can still answer', async () => {
    const before = count();
    const { charge } = await payTopUp(sandbox, stripe, INQUIRY_CARD);
    expect(eventsSince(sandbox, before)).not.toContain('charge.dispute.funds_withdrawn');
    const dispute = await disputeOf(charge);
    expect(dispute).toMatchObject({
      balance_transactions: [],
      is_charge_refundable: true,
      payment_method_details: { card: { case_type: 'inquiry', network_reason_code: '10' } },
      status: 'warning_needs_response',
    });
    expect(await stripe.refunds.create({ charge: charge.id })).toMatchObject({ status: 'succeeded' });
    expect(await stripe.disputes.close(dispute.id)).toMatchObject({ status: 'warning_closed' });
    expect(await movements(dispute)).toEqual([]);
  });

  it('warns of fraud, and stops asking for action once the charge is disputed or given back', async () => {
    const { charge } = await payTopUp(sandbox, stripe, '4000000000005423');
    const { data } = await stripe.radar.earlyFraudWarnings.list({ charge: charge.id });
    expect(data).toMatchObject([
      { actionable: true, charge: charge.id, fraud_type: 'made_with_stolen_card' },
    ]);
    const id = data[0]?.id ?? '';
    expect(sandbox.control.events('radar.early_fraud_warning.created')[0]?.data.object).toMatchObject({ id });
    await stripe.refunds.create({ charge: charge.id, amount: 50 });
    expect(await stripe.radar.earlyFraudWarnings.retrieve(id)).toMatchObject({ actionable: true });
    const rest = await stripe.refunds.create({ charge: charge.id });
    expect(await stripe.radar.earlyFraudWarnings.retrieve(id)).toMatchObject({ actionable: false });
    expect(sandbox.control.events('radar.early_fraud_warning.updated')).toHaveLength(1);
    await sandbox.control.failRefund(rest.id);
    expect(await stripe.radar.earlyFraudWarnings.retrieve(id, { expand: ['charge'] })).toMatchObject({
      actionable: true,
      charge: { amount_refunded: 50 },
    });
    const other = await sandbox.control.createDispute({ charge: charge.id });
    expect(other).toMatchObject({ amount: 1_000 });
    expect(await stripe.radar.earlyFraudWarnings.retrieve(id)).toMatchObject({ actionable: false });
    expect(await refusalOf(stripe.radar.earlyFraudWarnings.retrieve('issfr_nobody'))).toMatchObject({
      statusCode: 404,
      code: 'resource_missing',
    });
  });
});

describe('what becomes of a dispute', () => {
  it.each([
    ['warning_needs_response', [], true],
    ['warning_under_review', [], true],
    ['warning_closed', [], true],
    ['needs_response', [WITHDRAWN], false],
    ['under_review', [WITHDRAWN], false],
    ['lost', [WITHDRAWN], false],
    ['appeal_needs_response', [WITHDRAWN], false],
    ['appeal_under_review', [WITHDRAWN], false],
    ['won', [REINSTATED, WITHDRAWN], true],
    ['prevented', [], true],
  ])('can be made with status %s, with the money where it then is', async (status, moved, isRefundable) => {
    const { intent, charge } = await payTopUp(sandbox, stripe);
    const made = await controlRoute(sandbox, 'disputes', { charge: intent.id, status });
    expect(made).toMatchObject({ status: 200, body: { charge: charge.id, status } });
    const dispute = await stripe.disputes.retrieve(String(made.body['id']));
    expect(dispute).toMatchObject({ status, is_charge_refundable: isRefundable });
    expect(await movements(dispute)).toEqual(moved);
    expect(dispute.balance_transactions.map(({ amount }) => amount).toReversed()).toEqual(
      moved.map(([, amount]) => amount),
    );
    const refund = stripe.refunds.create({ charge: charge.id });
    if (isRefundable) expect(await refund).toMatchObject({ amount: 1_050 });
    else expect(await refusalOf(refund)).toMatchObject({ code: 'charge_disputed' });
  });

  it('reports the whole history of a dispute in events, each with the status that it then had', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const before = count();
    const { id } = await sandbox.control.createDispute({
      charge: charge.id,
      amountCents: 300,
      status: 'won',
    });
    const events = sandbox.control
      .events()
      .slice(0, count() - before)
      .toReversed();
    const disputeEvents = events.filter(({ type }) => type.startsWith('charge.dispute.'));
    expect(disputeEvents.map(({ type, data }) => [type, data.object['status']])).toEqual([
      ['charge.dispute.created', 'needs_response'],
      ['charge.dispute.funds_withdrawn', 'needs_response'],
      ['charge.dispute.updated', 'under_review'],
      ['charge.dispute.funds_reinstated', 'won'],
      ['charge.dispute.closed', 'won'],
    ]);
    expect(events.map(({ type }) => type)).toContain('charge.updated');
    expect(await movements({ id })).toEqual([
      ['dispute_reversal', 300, 0],
      ['dispute', -300, 1_500],
    ]);
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ disputed: true });
  });

  it('goes only where a dispute can go', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const { id } = await sandbox.control.createDispute({ charge: charge.id });
    expect(await controlRoute(sandbox, `disputes/${id}/move`, { status: 'warning_closed' })).toMatchObject({
      status: 400,
      body: { error: `${id} is needs_response and cannot become warning_closed` },
    });
    expect(await sandbox.control.moveDispute(id, 'lost')).toMatchObject({ status: 'lost' });
    await expect(sandbox.control.moveDispute(id, 'won')).rejects.toThrow('cannot become');
    await sandbox.control.moveDispute(id, 'appeal_needs_response');
    await sandbox.control.moveDispute(id, 'appeal_under_review');
    expect(await controlRoute(sandbox, `disputes/${id}/move`, { status: 'won' })).toMatchObject({
      status: 200,
    });
    expect(await movements({ id })).toEqual([REINSTATED, WITHDRAWN]);
  });

  it('refuses disputes that cannot be', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const made = (body: Record<string, unknown>) => controlRoute(sandbox, 'disputes', body);
    expect(await made({})).toMatchObject({ status: 400 });
    expect(await made({ charge: 'ch_nobody' })).toMatchObject({ status: 404 });
    expect(await made({ charge: charge.id, status: 'unhappy' })).toMatchObject({ status: 400 });
    expect(await made({ charge: charge.id, reason: 'unhappy' })).toMatchObject({ status: 400 });
    expect(await made({ charge: charge.id, amount: 1_051 })).toMatchObject({ status: 400 });
    expect(await made({ charge: charge.id, amount: 0 })).toMatchObject({ status: 400 });
    expect(await made({ charge: charge.id, ammount: 5 })).toMatchObject({ status: 400 });
    expect((await stripe.disputes.list({ charge: charge.id })).data).toEqual([]);
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ disputed: false });
  });

  it('lets the network take the money of a prevented dispute, or not', async () => {
    const { charge } = await payTopUp(sandbox, stripe);
    const wanted = { charge: charge.id, status: 'prevented', caseType: 'resolution' };
    const { id } = await sandbox.control.createDispute(wanted);
    expect(await stripe.disputes.retrieve(id)).toMatchObject({
      payment_method_details: { card: { case_type: 'resolution' } },
      is_charge_refundable: false,
    });
    expect(await movements({ id })).toEqual([WITHDRAWN]);
    expect(sandbox.control.events('charge.dispute.closed')[0]?.data.object).not.toMatchObject({ id });
  });
});

describe('answering a dispute', () => {
  it('keeps evidence until it is submitted, and then waits for the bank', async () => {
    const { charge } = await payTopUp(sandbox, stripe, '4000000000002685');
    const { id, reason } = await disputeOf(charge);
    expect(reason).toBe('product_not_received');
    const staged = await stripe.disputes.update(id, {
      evidence: { customer_name: 'Ada', access_activity_log: '12 images' },
      metadata: { case: '7' },
      submit: false,
    });
    expect(staged).toMatchObject({
      evidence: { customer_name: 'Ada', product_description: null },
      evidence_details: { has_evidence: true, submission_count: 0 },
      metadata: { case: '7' },
      status: 'needs_response',
    });
    const before = count();
    expect(
      await stripe.disputes.update(id, { evidence: { product_description: 'API credit' } }),
    ).toMatchObject({
      evidence: { customer_name: 'Ada', product_description: 'API credit' },
      evidence_details: { submission_count: 1, submission_method: 'manual' },
      metadata: { case: '7' },
      status: 'under_review',
    });
    expect(eventsSince(sandbox, before)).toEqual(['charge.dispute.updated', 'charge.updated']);
  });

  it.each([
    ['winning_evidence', 'won', [REINSTATED, WITHDRAWN]],
    ['losing_evidence', 'lost', [WITHDRAWN]],
  ])('decides by %s, a moment later', async (text, status, moved) => {
    const { charge } = await payTopUp(sandbox, stripe, '4000000000000259');
    const { id } = await disputeOf(charge);
    const submitted = await stripe.disputes.update(id, { evidence: { uncategorized_text: text } });
    expect(submitted.status).toBe('under_review');
    const decided = await until('the decision', async () => {
      const now = await stripe.disputes.retrieve(id);
      return now.status === 'under_review' ? null : now;
    });
    expect(decided.status).toBe(status);
    expect(await movements({ id })).toEqual(moved);
    expect(await refusalOf(stripe.disputes.update(id, { metadata: { a: 'b' } }))).toMatchObject({
      statusCode: 400,
      message: 'This dispute is already closed',
    });
  });

  it('turns an inquiry into a chargeback, which fails the refund that was to answer it', async () => {
    const { charge } = await payTopUp(sandbox, stripe, INQUIRY_CARD);
    const { id } = await disputeOf(charge);
    const refund = await stripe.refunds.create({ charge: charge.id });
    const evidence = { uncategorized_text: 'escalate_inquiry_evidence' };
    expect(await stripe.disputes.update(id, { evidence })).toMatchObject({ status: 'warning_under_review' });
    await until('the escalation', async () =>
      (await stripe.disputes.retrieve(id)).status === 'needs_response' ? true : null,
    );
    expect(await movements({ id })).toEqual([WITHDRAWN]);
    expect(await stripe.refunds.retrieve(refund.id)).toMatchObject({
      status: 'failed',
      failure_reason: 'charge_for_pending_refund_disputed',
    });
    expect(await stripe.charges.retrieve(charge.id)).toMatchObject({ amount_refunded: 0, disputed: true });
    expect(await refusalOf(stripe.refunds.create({ charge: charge.id }))).toMatchObject({
      code: 'charge_disputed',
    });
  });

  it('accepts a dispute: lost, and over', async () => {
    const { charge, intent } = await payTopUp(sandbox, stripe, '4000000000000259');
    const { data } = await stripe.disputes.list({ payment_intent: intent.id });
    const id = data[0]?.id ?? '';
    const before = count();
    expect(await stripe.disputes.close(id)).toMatchObject({ status: 'lost', charge: charge.id });
    expect(eventsSince(sandbox, before)).toEqual(['charge.dispute.closed', 'charge.updated']);
    expect(await refusalOf(stripe.disputes.close(id))).toMatchObject({ statusCode: 400 });
    expect(await refusalOf(stripe.disputes.retrieve('du_nobody'))).toMatchObject({
      statusCode: 404,
      code: 'resource_missing',
      param: 'dispute',
    });
  });

  it.each([
    ['a misspelt field', { evidence: { customer_nam: 'x' } }, 'evidence[customer_nam]', 'parameter_unknown'],
    ['a file', { evidence: { receipt: 'file_1' } }, 'evidence[receipt]', 'sandbox_not_simulated'],
    [
      'an endless field',
      { evidence: { uncategorized_text: 'x'.repeat(20_001) } },
      'evidence[uncategorized_text]',
      undefined,
    ],
    ['a word as submit', { submit: 'now' }, 'submit', undefined],
    ['an unknown parameter', { status: 'won' }, 'status', 'parameter_unknown'],
  ])('refuses %s', async (_what, params, param, code) => {
    const { charge } = await payTopUp(sandbox, stripe, '4000000000000259');
    const { id } = await disputeOf(charge);
    const refused = await refusalOf(stripe.disputes.update(id, params as Stripe.DisputeUpdateParams));
    expect(refused.statusCode).toBe(400);
    expect([refused.param, refused.code]).toEqual([param, code]);
    expect(await stripe.disputes.retrieve(id)).toMatchObject({ status: 'needs_response' });
  });
});
