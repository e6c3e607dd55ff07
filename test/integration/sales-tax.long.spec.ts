import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import Stripe from 'stripe';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { StripeBalanceJob } from '../../src/finance/reconciliation/stripe-balance.job.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { OPT_IN } from '../support/payments/auto-top-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { chargeIdOf, paidTopUp, refundIdOf } from '../support/payments/paid-top-up.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import {
  expectNothingCredited,
  settled,
  startTopUp,
  statusOf,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';

/** 8.25% of $10.00 and of $0.50, each rounded half up: 83 and 4 cents. */
const TAX = 87;
const PAID = { top_up: 1_000, top_up_fee: 50, top_up_tax: TAX };

let app: TestApp;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await startTestApp({ stripe: true, settings: { stripeTax: true } });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
});

afterEach(() => {
  jest.restoreAllMocks();
  control.clearFaults();
});

afterAll(async () => {
  await settled(app);
  await app.app.get(StripeBalanceJob).run();
  await expectBooksToBalance(app.dataSource);
  await app.close();
});

const paid = (): Promise<OpenTopUp> => paidTopUp(app);

/** The sum of each kind of transfer, in cents. */
async function legsOf({ customer }: OpenTopUp): Promise<Readonly<Record<string, number>>> {
  const rows = await app.dataSource.query<{ kind: string; cents: number }[]>(
    'SELECT kind, (sum(amount_micros) / 10000)::int AS cents FROM transfers WHERE account_id = $1 GROUP BY kind',
    [customer.accountId],
  );
  return Object.fromEntries(rows.map(({ kind, cents }) => [kind, cents]));
}

/** As somebody does it in Stripe's dashboard. */
async function refundAtStripe(topUp: OpenTopUp, amount: number): Promise<void> {
  const { apiBase, secretKey } = app.settings.stripe ?? {};
  const stripe = new Stripe(secretKey ?? '', {
    host: apiBase?.hostname ?? '',
    port: Number(apiBase?.port),
    protocol: 'http',
  });
  await stripe.refunds.create({ charge: await chargeIdOf(app, topUp), amount });
  await settled(app);
}

describe('sales tax', () => {
  it('is paid in addition to the quote and owed to the state, and buys no credit', async () => {
    const topUp = await paid();
    expect(await legsOf(topUp)).toEqual(PAID);
    const { body } = (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`)).expect(200);
    expect(body).toMatchObject({ status: 'paid', charge_cents: 1_050, tax_micros: '870000' });
    const wallet = (await topUp.customer.client.get('/v1/wallet')).expect(200).body;
    expect(wallet).toMatchObject({ posted_micros: '10000000' });
  });

  it('is posted once when the row is lost after the wallet was credited', async () => {
    const topUp = await startTopUp(app);
    const topUps = app.app.get(TopUpRepository);
    jest.spyOn(topUps, 'move').mockRejectedValueOnce(new Error('cut off before the row'));
    await control.pay(topUp.sessionId);
    await settled(app);
    expect(await statusOf(app, topUp)).toBe('paid');
    expect(await legsOf(topUp)).toEqual(PAID);
  });

  it.each([
    ['is left out of the total', { amount_total: 1_050 }],
    [
      'is more than the total says',
      { total_details: { amount_discount: 0, amount_shipping: 0, amount_tax: 1_000 } },
    ],
    [
      'could not be computed',
      { automatic_tax: { enabled: true, liability: null, provider: 'stripe', status: 'failed' } },
    ],
    [
      'was switched off',
      { automatic_tax: { enabled: false, liability: null, provider: null, status: null } },
    ],
  ])('credits nothing when it %s', async (_what, object) => {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    control.clearFaults();
    await control.overrideCheckoutSession(topUp.sessionId, object);
    const [event] = control
      .events('checkout.session.completed')
      .filter(({ data }) => data.object['id'] === topUp.sessionId);
    await control.sendEvent(event?.id ?? '');
    await settled(app);
    expect(await statusOf(app, topUp)).toBe('needs_review');
    await expectNothingCredited(app, topUp);
  });

  it('is asked for by the payment page only where it is switched on', async () => {
    const off = await startTestApp({ stripe: true });
    const topUp = await startTopUp(off);
    await off.stripe?.control.pay(topUp.sessionId);
    await settled(off);
    const { body } = (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`)).expect(200);
    expect(body).toMatchObject({ status: 'paid', tax_micros: '0' });
    await expectBooksToBalance(off.dataSource);
    await off.close();
  });
});

describe('sales tax that goes back', () => {
  it('is all of it with the last refund, in whatever parts', async () => {
    const topUp = await paid();
    const { client } = topUp.customer;
    const preview = (
      await client.post(`/v1/top_ups/${topUp.id}/refund`, { credit_cents: 333, preview: true })
    ).expect(200);
    expect(preview.body).toMatchObject({
      fee_micros: '170000',
      tax_micros: '290000',
      amount_cents: 333 + 17 + 29,
    });
    for (const credit of [333, 333, 334]) {
      (await client.post(`/v1/top_ups/${topUp.id}/refund`, { credit_cents: credit })).expect(200);
    }
    await settled(app);
    expect(await legsOf(topUp)).toEqual({ ...PAID, refund: 1_000, refund_fee: 50, refund_tax: TAX });
  });

  it('is its share of a refund made in Stripe’s dashboard, and the rest with the rest', async () => {
    const topUp = await paid();
    await refundAtStripe(topUp, 500);
    const part = await legsOf(topUp);
    expect(Number(part['refund']) + Number(part['refund_fee']) + Number(part['refund_tax'])).toBe(500);
    expect(part['refund_tax']).toBe(38);
    await refundAtStripe(topUp, 1_050 + TAX - 500);
    expect(await legsOf(topUp)).toEqual({ ...PAID, refund: 1_000, refund_fee: 50, refund_tax: TAX });
  });

  it('comes back when the refund fails', async () => {
    const topUp = await paid();
    (await topUp.customer.client.post(`/v1/top_ups/${topUp.id}/refund`, {})).expect(200);
    await control.failRefund(await refundIdOf(app, topUp));
    await settled(app);
    const back = { reinstatement: 1_000, reinstatement_fee: 50, reinstatement_tax: TAX };
    expect(await legsOf(topUp)).toEqual({ ...PAID, refund: 1_000, refund_fee: 50, refund_tax: TAX, ...back });
  });

  it('goes with a dispute after a partial refund, and comes back when the dispute is won', async () => {
    const topUp = await paid();
    (await topUp.customer.client.post(`/v1/top_ups/${topUp.id}/refund`, { credit_cents: 400 })).expect(200);
    await settled(app);
    const dispute = await control.createDispute({
      charge: await chargeIdOf(app, topUp),
      reason: 'fraudulent',
    });
    await settled(app);
    const taken = {
      refund: 400,
      refund_fee: 20,
      refund_tax: 35,
      dispute: 600,
      dispute_fee: 30,
      dispute_tax: 52,
    };
    expect(await legsOf(topUp)).toEqual({ ...PAID, ...taken });
    await control.moveDispute(dispute.id, 'won');
    await settled(app);
    const back = { reinstatement: 600, reinstatement_fee: 30, reinstatement_tax: 52 };
    expect(await legsOf(topUp)).toEqual({ ...PAID, ...taken, ...back });
  });

  it('leaves the ledger’s account at Stripe at what Stripe says, to the cent', async () => {
    await app.app.get(StripeBalanceJob).run();
    const [row] = await app.dataSource.query<{ ours: string; theirs: string }[]>(
      `SELECT (SELECT sum(CASE WHEN debit_account = 'stripe_clearing' THEN amount_micros ELSE -amount_micros END) / 10000
                 FROM transfers WHERE 'stripe_clearing' IN (debit_account, credit_account))::bigint AS ours,
              (SELECT sum(net_cents) FROM stripe_balance_transactions)::bigint AS theirs`,
    );
    expect(row?.ours).toBe(row?.theirs);
    expect(await findDiscrepancies(app.dataSource, ['undecided payments'])).toEqual([]);
  });
});

describe('the database', () => {
  let owner: pg.Client;
  beforeAll(async () => {
    owner = new pg.Client({ connectionString: app.databaseUrl });
    await owner.connect();
  });
  afterAll(() => owner.end());

  it('refuses more tax back than was paid, another tax on what is paid, and parts that do not add up', async () => {
    const topUp = await paid();
    const refund = (tax: number): Promise<unknown> =>
      owner.query(
        `INSERT INTO refunds (account_id, id, top_up_id, status, credit_micros, fee_micros, tax_micros, amount_cents,
                              payment_intent_id, lot_id, return_lot_id, fingerprint, created_by, created_at, checked_at)
         SELECT account_id, 're_wrong', id, 'created', 10000, 0, $2::bigint * 10000, 1 + $2::bigint, payment_intent_id, lot_id, 'lot_x',
                '', 'test', now(), now() FROM top_ups WHERE id = $1`,
        [topUp.id, tax],
      );
    await expect(refund(TAX + 1)).rejects.toMatchObject({ constraint: 'refunds_within_payment' });
    await expect(
      owner.query('UPDATE top_ups SET tax_micros = 0 WHERE id = $1', [topUp.id]),
    ).rejects.toMatchObject({ constraint: 'top_ups_settled_once' });
    await expect(
      owner.query(
        `WITH dispute AS (
           INSERT INTO disputes (account_id, id, top_up_id, status, reason, amount_cents, reinstatement_lot_id, created_at, checked_at)
           SELECT account_id, 'du_wrong', id, 'lost', 'x', 100, 'lot_x', now(), now() FROM top_ups WHERE id = $1 RETURNING account_id)
         INSERT INTO dispute_movements (account_id, dispute_id, number, amount_cents, credit_micros, fee_micros, tax_micros,
                                        excess_micros, reference, created_at, booked_at)
         SELECT account_id, 'du_wrong', 1, -100, -10000, 0, -10000, 0, 'dispute:du_wrong:withdrawn', now(), now() FROM dispute`,
        [topUp.id],
      ),
    ).rejects.toMatchObject({ constraint: 'dispute_movements_amounts' });
  });

  it('that holds another tax than the ledger is named by the doctor', async () => {
    const topUp = await paid();
    await owner.query('ALTER TABLE top_ups DISABLE TRIGGER USER');
    const set = (sign: string) =>
      owner.query(`UPDATE top_ups SET tax_micros = tax_micros ${sign} 10000 WHERE id = $1`, [topUp.id]);
    await set('+');
    expect(await findDiscrepancies(app.dataSource, ['undecided payments'])).toEqual([
      expect.objectContaining({ table: 'top_ups', key: expect.stringContaining(topUp.id) }),
    ]);
    await set('-');
    await owner.query('ALTER TABLE top_ups ENABLE TRIGGER USER');
  });
});

describe('the receipt', () => {
  it('and the invoice can be reached by the customer from the paid top-up, and from no unpaid one', async () => {
    const topUp = await startTopUp(app);
    const read = async () => (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`)).expect(200).body;
    expect(await read()).toMatchObject({ invoice_url: null, receipt_url: null });
    await control.pay(topUp.sessionId);
    await settled(app);
    const { invoice_url: invoiceUrl, receipt_url: receiptUrl } = await read();
    expect(invoiceUrl).not.toBe(receiptUrl);
    for (const url of [invoiceUrl, receiptUrl]) {
      const page = await fetch(String(url));
      expect(page.status).toBe(200);
      expect(await page.text()).toContain('$11.37');
    }
  });

  it('that was not there when the payment settled is learned from a later event', async () => {
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    await app.dataSource.query('UPDATE top_ups SET invoice_url = NULL, receipt_url = NULL WHERE id = $1', [
      topUp.id,
    ]);
    const [event] = control
      .events('checkout.session.completed')
      .filter(({ data }) => data.object['id'] === topUp.sessionId);
    await app.dataSource.query('UPDATE stripe_events SET processed_at = NULL, outcome = NULL WHERE id = $1', [
      event?.id,
    ]);
    await app.dataSource.query(
      `SELECT graphile_worker.add_job('stripe_event', json_build_object('event_id', $1::text))`,
      [event?.id],
    );
    await settled(app);
    const { body } = (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`)).expect(200);
    expect(body).toMatchObject({
      invoice_url: expect.stringContaining('/c/receipt/in_'),
      receipt_url: expect.stringContaining('/c/receipt/ch_'),
    });
    expect(await legsOf(topUp)).toEqual(PAID);
  });
});

it('keeps auto top-up off: no page would collect the tax that is due', async () => {
  const { customer } = await paid();
  const answer = await customer.client.send('PUT', '/v1/auto_top_up', { body: OPT_IN });
  expect(answer.expect(409).body.error).toMatchObject({ code: 'auto_top_up_untaxed' });
});
