import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { SETTINGS, type Settings } from '../../src/platform/config/settings.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../../src/payments/stripe/payment-gateway.js';
import { PaymentsUnavailableError } from '../../src/payments/stripe/payments.errors.js';
import { RefundRepository } from '../../src/payments/refunds/refund.repository.js';
import { RefundSweepJob } from '../../src/payments/refunds/refund-sweep.job.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestAnswer } from '../support/app/test-client.js';
import { settled, startTopUp, type OpenTopUp } from '../fixtures/top-up-books.js';

type Body = Readonly<Record<string, unknown>>;
type Legs = Readonly<Record<string, string>>;

describe('a refund', () => {
  let app: SharedShop;
  let control: SandboxStripeControl;
  let gateway: PaymentGateway;

  beforeAll(async () => {
    app = await sharedShop();
    control = app.control;
    gateway = app.app.get<PaymentGateway>(PAYMENT_GATEWAY);
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    control.clearFaults();
    await settled(app);
  });

  afterAll(() => expectBooksToBalance(app.dataSource));

  /** $10.00 of credit for $10.50, paid. */
  async function paid(credit = 1_000): Promise<OpenTopUp> {
    const topUp = await startTopUp(app, { credit_cents: credit });
    await control.pay(topUp.sessionId);
    await settled(app);
    return topUp;
  }

  const refund = (topUp: OpenTopUp, body: Body = {}, key?: string): Promise<TestAnswer> =>
    topUp.customer.client.post(
      `/v1/top_ups/${topUp.id}/refund`,
      body,
      key === undefined ? {} : { 'idempotency-key': key },
    );

  async function available({ customer }: OpenTopUp): Promise<string> {
    return String((await customer.client.get('/v1/wallet')).expect(200).body.available_micros);
  }

  /** The sum of each kind of transfer. */
  async function legs({ customer }: OpenTopUp): Promise<Legs> {
    const rows = await app.dataSource.query<{ kind: string; sum: string }[]>(
      'SELECT kind, sum(amount_micros) FROM transfers WHERE account_id = $1 GROUP BY kind ORDER BY kind',
      [customer.accountId],
    );
    return Object.fromEntries(rows.map(({ kind, sum }) => [kind, sum]));
  }

  const TOP_UP: Legs = { top_up: '10000000', top_up_fee: '500000' };

  async function spend({ customer }: OpenTopUp, amountMicros: number): Promise<void> {
    const body = {
      account: customer.accountId,
      reference: `spent-${Math.random()}`,
      amount_micros: `${amountMicros}`,
    };
    (await app.operator.post('/v1/debits', body)).expect(201);
  }

  async function refundsAtStripe(topUp: OpenTopUp): Promise<number[]> {
    const [row] = await app.dataSource.query<{ payment_intent_id: string }[]>(
      'SELECT payment_intent_id FROM top_ups WHERE id = $1',
      [topUp.id],
    );
    return (await gateway.listRefunds(row?.payment_intent_id ?? '')).map(({ amountCents }) =>
      Number(amountCents),
    );
  }

  it('returns all unspent credit with the whole fee, once, to the customer and to the books', async () => {
    const topUp = await paid();
    const answer = (await refund(topUp)).expect(200).body;
    expect(answer).toMatchObject({
      object: 'refund',
      top_up: topUp.id,
      credit_micros: '10000000',
      fee_micros: '500000',
      amount_cents: 1_050,
    });
    await settled(app);
    const list = (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}/refunds`)).expect(200).body;
    expect(list.data).toMatchObject([{ id: answer.id, status: 'succeeded' }]);
    expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '10000000', refund_fee: '500000' });
    expect(await available(topUp)).toBe('0');
    expect(await refundsAtStripe(topUp)).toEqual([1_050]);
  });

  it('is previewed to the cent, and the preview moves nothing', async () => {
    const topUp = await paid();
    await spend(topUp, 40_000);
    const preview = (await refund(topUp, { preview: true })).expect(200).body;
    expect(preview).toMatchObject({
      id: null,
      status: 'preview',
      credit_micros: '9960000',
      fee_micros: '500000',
      amount_cents: 1_046,
      remaining_cents: 4,
    });
    expect(await available(topUp)).toBe('9960000');
    expect(await refundsAtStripe(topUp)).toEqual([]);
  });

  it('in parts adds up to the payment, and then there is nothing left', async () => {
    const topUp = await paid();
    for (const [credit, amount] of [
      [333, 350],
      [333, 349],
      [334, 351],
    ] as const) {
      expect((await refund(topUp, { credit_cents: credit })).expect(200).body.amount_cents).toBe(amount);
    }
    expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '10000000', refund_fee: '500000' });
    const refused = (await refund(topUp, { credit_cents: 1 })).expect(409).body.error;
    expect(refused).toMatchObject({ code: 'refund_exceeds_credit', refundable_cents: 0 });
    expect((await refundsAtStripe(topUp)).sort()).toEqual([349, 350, 351]);
  });

  it('never takes promotional credit, spent credit or what a hold has reserved', async () => {
    const topUp = await paid();
    const { accountId } = topUp.customer;
    await app.operator.post(`/v1/accounts/${accountId}/grants`, {
      amount_micros: '5000000',
      reason: 'welcome',
    });
    await spend(topUp, 6_000_000);
    const hold = { account: accountId, reference: 'reserved', amount_micros: '2000000' };
    (await app.operator.post('/v1/holds', hold)).expect(201);
    const refused = (await refund(topUp, { credit_cents: 701 })).expect(409).body.error;
    expect(refused).toMatchObject({ code: 'refund_exceeds_credit', refundable_cents: 700 });
    expect((await refund(topUp)).expect(200).body.amount_cents).toBe(735);
    expect(await available(topUp)).toBe('0');
  });

  it('is one when the same request comes again, one after the other or at once, and another body is refused', async () => {
    const topUp = await paid();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => refund(topUp, { credit_cents: 400 }, 'key-1')),
    );
    expect(new Set(answers.map((answer) => answer.expect(200).body.id)).size).toBe(1);
    expect(
      (await refund(topUp, { credit_cents: 400 }, 'key-1')).expect(200).headers.get('idempotent-replayed'),
    ).toBe('true');
    expect((await refund(topUp, { credit_cents: 401 }, 'key-1')).expect(422).body.error.code).toBe(
      'idempotency_key_reused',
    );
    expect(await refundsAtStripe(topUp)).toEqual([420]);
    expect(await available(topUp)).toBe('6000000');
  });

  it('never exceeds the payment, however many race for it', async () => {
    const topUp = await paid();
    const answers = await Promise.all(Array.from({ length: 20 }, () => refund(topUp, { credit_cents: 300 })));
    expect(answers.map(({ status }) => status).sort()).toEqual([
      200,
      200,
      200,
      ...Array<number>(17).fill(409),
    ]);
    expect(await available(topUp)).toBe('1000000');
    expect(await refundsAtStripe(topUp)).toEqual([315, 315, 315]);
  });

  it('and spending that race for the same credit never pay it out twice', async () => {
    const topUp = await paid();
    const { accountId } = topUp.customer;
    const debit = (index: number) =>
      app.operator.post('/v1/debits', {
        account: accountId,
        reference: `race-${index}`,
        amount_micros: '1000000',
      });
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, (_, index) => debit(index)),
      refund(topUp, { credit_cents: 1_000 }),
      refund(topUp, { credit_cents: 500 }),
    ]);
    for (const { status } of answers) expect([200, 201, 402, 409]).toContain(status);
    const { debit: spent = '0', refund: returned = '0' } = await legs(topUp);
    expect(BigInt(spent) + BigInt(returned)).toBeLessThanOrEqual(10_000_000n);
    expect(await available(topUp)).toBe(String(10_000_000n - BigInt(spent) - BigInt(returned)));
  });

  it('gives the credit back when Stripe refuses it for good, and says so', async () => {
    const topUp = await paid();
    const [row] = await app.dataSource.query<{ payment_intent_id: string }[]>(
      'SELECT payment_intent_id FROM top_ups WHERE id = $1',
      [topUp.id],
    );
    // Somebody refunds it at Stripe, and its event is lost: nothing is left there to refund.
    control.setWebhookFaults({ loseEvents: true });
    const elsewhere = {
      refundId: 'other',
      topUpId: topUp.id,
      accountId: 'other',
      amountCents: 1_050n as never,
    };
    await gateway.createRefund({ ...elsewhere, paymentIntentId: row?.payment_intent_id ?? '' }, 'elsewhere');
    const refused = (await refund(topUp, { credit_cents: 500 })).expect(409).body.error;
    expect(refused.code).toBe('refund_refused');
    expect(await available(topUp)).toBe('10000000');
    expect(await legs(topUp)).toEqual({
      ...TOP_UP,
      refund: '5000000',
      refund_fee: '250000',
      reinstatement: '5000000',
      reinstatement_fee: '250000',
    });
  });

  it('keeps the credit reserved while Stripe is away, and the job finishes it, once', async () => {
    const topUp = await paid();
    const create = jest
      .spyOn(gateway, 'createRefund')
      .mockRejectedValue(new PaymentsUnavailableError(new Error('away')));
    expect((await refund(topUp, { credit_cents: 500 })).expect(200).body.status).toBe('created');
    expect(await available(topUp)).toBe('5000000');
    create.mockRestore();
    await sweep();
    await sweep();
    expect(await refundsAtStripe(topUp)).toEqual([525]);
    expect(await statuses(topUp)).toEqual(['succeeded']);
    expect(await available(topUp)).toBe('5000000');
  });

  it.each(['before the wallet', 'after the wallet', 'after Stripe'])(
    'that a crash cut off %s is finished by the job, once',
    async (moment) => {
      const topUp = await paid();
      const crash = new Error('killed');
      if (moment === 'before the wallet') {
        jest.spyOn(app.app.get(WalletEngine), 'execute').mockRejectedValueOnce(crash);
      } else if (moment === 'after the wallet') {
        jest.spyOn(gateway, 'createRefund').mockRejectedValueOnce(crash);
      } else {
        jest.spyOn(app.app.get(RefundRepository), 'move').mockRejectedValueOnce(crash);
      }
      control.setWebhookFaults({ loseEvents: true });
      (await refund(topUp, { credit_cents: 500 })).expect(500);
      jest.restoreAllMocks();
      await sweep();
      await sweep();
      expect(await refundsAtStripe(topUp)).toEqual([525]);
      expect(await statuses(topUp)).toEqual(['succeeded']);
      expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '5000000', refund_fee: '250000' });
    },
  );

  it('that Stripe made before it forgot the idempotency key is found by the job, and not made again', async () => {
    const topUp = await paid();
    jest.spyOn(app.app.get(RefundRepository), 'move').mockRejectedValueOnce(new Error('killed'));
    control.setWebhookFaults({ loseEvents: true });
    (await refund(topUp, { credit_cents: 500 })).expect(500);
    const create = gateway.createRefund.bind(gateway);
    jest
      .spyOn(gateway, 'createRefund')
      .mockImplementation((request, key) => create(request, `${key}:forgotten`));
    await sweep();
    expect(await refundsAtStripe(topUp)).toEqual([525]);
    expect(await statuses(topUp)).toEqual(['succeeded']);
  });

  it('that the bank sends back days after its success returns the credit, once, in any order of events', async () => {
    const topUp = await paid();
    (await refund(topUp, { credit_cents: 500 })).expect(200);
    await settled(app);
    control.setWebhookFaults({ copies: 3 });
    await control.failRefund(await stripeIdOf(topUp));
    await settled(app);
    const failed = { reinstatement: '5000000', reinstatement_fee: '250000' };
    expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '5000000', refund_fee: '250000', ...failed });
    expect(await statuses(topUp)).toEqual(['failed']);
    expect(await available(topUp)).toBe('10000000');
    // Its parts are free again: all of it can be refunded after all.
    expect((await refund(topUp)).expect(200).body.amount_cents).toBe(1_050);
  });

  it("made in Stripe's dashboard takes its credit as well, once, whatever its events do", async () => {
    const topUp = await paid();
    control.setWebhookFaults({ copies: 5 });
    await refundElsewhere(topUp, 525);
    await settled(app);
    expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '5000000', refund_fee: '250000' });
    expect(await statuses(topUp)).toEqual(['succeeded']);
    expect((await refund(topUp, { preview: true })).expect(200).body.amount_cents).toBe(525);
  });

  it("made in Stripe's dashboard takes its credit even when its first look was cut off before the wallet", async () => {
    const topUp = await paid();
    jest.spyOn(app.app.get(WalletEngine), 'execute').mockRejectedValueOnce(new Error('killed'));
    await refundElsewhere(topUp, 525);
    await settled(app);
    expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '5000000', refund_fee: '250000' });
    expect(await statuses(topUp)).toEqual(['succeeded']);
  });

  it('that names a refund whose row is gone, as after a restore, takes its credit as well, once', async () => {
    const topUp = await paid();
    control.setWebhookFaults({ copies: 3 });
    await refundElsewhere(topUp, 525, { 'metadata[refund_id]': newId('refund') });
    await settled(app);
    expect(await legs(topUp)).toEqual({ ...TOP_UP, refund: '5000000', refund_fee: '250000' });
    expect(await statuses(topUp)).toEqual(['succeeded']);
  });

  it('is refused for what was not paid, for another account, and to a customer after the window', async () => {
    const open = await startTopUp(app);
    expect((await refund(open)).expect(409).body.error.code).toBe('top_up_not_refundable');
    const topUp = await paid();
    const stranger = await app.createCustomer();
    (await stranger.client.post(`/v1/top_ups/${topUp.id}/refund`, {})).expect(404);
    (await stranger.client.get(`/v1/top_ups/${topUp.id}/refunds`)).expect(404);
    for (const body of [
      { credit_cents: 0 },
      { credit_cents: -1 },
      { credit_cents: 1.5 },
      { credit_cents: '5' },
      { x: 1 },
    ]) {
      (await refund(topUp, body)).expect(400);
    }
    Object.assign(app.app.get<Settings>(SETTINGS), { refundWindowDays: 0 });
    try {
      expect((await refund(topUp)).expect(409).body.error.code).toBe('refund_window_over');
      const path = `/v1/accounts/${topUp.customer.accountId}/top_ups/${topUp.id}/refund`;
      expect((await app.operator.post(path, { credit_cents: 100 })).expect(200).body.amount_cents).toBe(105);
    } finally {
      Object.assign(app.app.get<Settings>(SETTINGS), { refundWindowDays: 30 });
    }
    expect(await available(topUp)).toBe('9000000');
  });

  async function statuses({ id }: OpenTopUp): Promise<string[]> {
    const rows = await app.dataSource.query<{ status: string }[]>(
      'SELECT status FROM refunds WHERE top_up_id = $1 ORDER BY id',
      [id],
    );
    return rows.map(({ status }) => status);
  }

  async function stripeIdOf({ id }: OpenTopUp): Promise<string> {
    const rows = await app.dataSource.query<{ stripe_refund_id: string }[]>(
      'SELECT stripe_refund_id FROM refunds WHERE top_up_id = $1',
      [id],
    );
    return rows[0]?.stripe_refund_id ?? '';
  }

  async function sweep(): Promise<void> {
    await app.dataSource.query(`UPDATE refunds SET checked_at = checked_at - interval '10 minutes'`);
    await app.app.get(RefundSweepJob).run();
  }

  /** Without our metadata, as the dashboard does it. */
  async function refundElsewhere(
    topUp: OpenTopUp,
    amountCents: number,
    metadata: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const [row] = await app.dataSource.query<{ payment_intent_id: string }[]>(
      'SELECT payment_intent_id FROM top_ups WHERE id = $1',
      [topUp.id],
    );
    const { secretKey } = app.settings.stripe ?? { secretKey: '' };
    const answer = await fetch(`${app.stripe?.baseUrl}/v1/refunds`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secretKey}`, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({
        payment_intent: row?.payment_intent_id ?? '',
        amount: `${amountCents}`,
        ...metadata,
      }),
    });
    expect(answer.status).toBe(200);
  }
});
