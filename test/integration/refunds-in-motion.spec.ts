import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { MovementBookingJob } from '../../src/payments/disputes/movement-booking.job.js';
import { RefundEvents } from '../../src/payments/refunds/refund.events.js';
import { RefundRepository } from '../../src/payments/refunds/refund.repository.js';
import { RefundSweepJob } from '../../src/payments/refunds/refund-sweep.job.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { settled } from '../fixtures/top-up-books.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(async () => {
  jest.restoreAllMocks();
  app.control.clearFaults();
  app.clock.reset();
  await expectBooksToBalance(app.dataSource);
});

type Wallet = { readonly unspent: ReturnHistory; readonly spent: ReturnHistory };

/** A customer with two payments. Refunds of the spent one could draw on the credit of the other. */
async function twoPayments(): Promise<Wallet> {
  const spent = await beginHistory(app, app.control);
  await spent.take(['spend', 1_000]);
  return { spent, unspent: await beginHistory(app, app.control, spent.customer) };
}

function refund(payment: ReturnHistory, creditCents?: number) {
  const body = creditCents === undefined ? {} : { credit_cents: creditCents };
  return payment.customer.client.post(`/v1/top_ups/${payment.topUpId}/refund`, body);
}

function stripeIsAway(): void {
  const failure = { outcome: 503, times: 10, shouldRetry: false } as const;
  app.control.failRequests({ method: 'POST', pathPrefix: '/v1/refunds', ...failure });
}

async function sweepRefunds(): Promise<void> {
  await app.dataSource.query(`UPDATE refunds SET checked_at = checked_at - interval '10 minutes'`);
  await app.app.get(RefundSweepJob).run();
}

/** Runs `before` ahead of the first command whose reference contains this text; an error of it is a crash at this point. */
function interrupt(text: string, before: () => Promise<void>, timesMax = 1): void {
  const engine = app.app.get(WalletEngine);
  const execute = engine.execute.bind(engine);
  let times = 0;
  jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
    if (times < timesMax && 'reference' in command && command.reference.includes(text)) {
      times += 1;
      await before();
    }
    return execute(command);
  });
}

const die = (): Promise<never> => Promise.reject(new Error('killed'));

async function findUnbooked({ accountId }: ReturnHistory): Promise<readonly unknown[]> {
  return app.dataSource.query(
    'SELECT reference FROM dispute_movements WHERE account_id = $1 AND booked_at IS NULL',
    [accountId],
  );
}

describe('what a bank takes', () => {
  it('is booked at once, also while a refund of the payment is undecided, so that a refund of another payment cannot draw on it', async () => {
    const { spent, unspent } = await twoPayments();
    stripeIsAway();
    (await refund(unspent, 100)).expect(200);
    await unspent.take(['dispute', 'needs_response', 1_050]);
    expect((await refund(spent)).expect(409).body.error.code).toBe('refund_exceeds_credit');
    expect(await unspent.left()).toMatchObject({ available: 0, debt: 0 });
    app.control.clearFaults();
    await sweepRefunds();
    await settled(app);
    expect(await findUnbooked(unspent)).toEqual([]);
    expect(await unspent.left()).toMatchObject({ available: 0, debt: 0 });
  });

  it('is booked by the job when the process died before what a dispute covers, and no refund draws on it until then', async () => {
    const { spent, unspent } = await twoPayments();
    await unspent.take(['refund_elsewhere', 1_050]);
    await unspent.take(['dispute', 'lost', 1_050]);
    app.control.setWebhookFaults({ loseEvents: true });
    await unspent.begin(['refund_fails']);
    interrupt(':covered:', die);
    const handled = app.app.get(RefundEvents).settle(await unspent.stripeRefundId());
    await expect(handled).rejects.toThrow('killed');
    expect((await refund(spent)).expect(409).body.error.code).toBe('top_up_not_refundable');
    app.clock.aheadMs = 120_000;
    await app.app.get(MovementBookingJob).run();
    expect(await findUnbooked(unspent)).toEqual([]);
    expect((await refund(spent)).expect(409).body.error.code).toBe('refund_exceeds_credit');
  });
});

describe('a refund', () => {
  it('that Stripe refused returns its credit, once, also when the process died before that', async () => {
    const wallet = await beginHistory(app, app.control);
    app.control.failRequests({ method: 'POST', pathPrefix: '/v1/refunds', outcome: 400 });
    interrupt(':failed', die);
    (await refund(wallet)).expect(500);
    expect(await wallet.left()).toMatchObject({ available: 0 });
    app.clock.aheadMs = 120_000;
    await app.app.get(MovementBookingJob).run();
    await app.app.get(MovementBookingJob).run();
    expect(await wallet.left()).toMatchObject({ available: 1_000, legs: { reinstatement: 1_000 } });
  });

  it('sends nothing to a card that comes back and is taken again while it is begun', async () => {
    const { spent, unspent } = await twoPayments();
    await unspent.take(['refund_elsewhere', 1_050]);
    await unspent.take(['dispute', 'lost', 1_050]);
    // The refund of the other payment is begun before the failure is decided, and takes its credit before the cover does.
    (await app.operator.post(`/v1/accounts/${unspent.accountId}/unfreeze`, { reason: 'checked' })).expect(
      200,
    );
    await unspent.take(['top_up', 1_000]);
    const failure = app.app.get(RefundEvents);
    const stripeRefundId = await unspent.stripeRefundId();
    app.control.setWebhookFaults({ loseEvents: true });
    interrupt('refund:re_', async () => {
      await app.control.failRefund(stripeRefundId);
      jest.restoreAllMocks();
      interrupt(':covered:', die);
      await expect(failure.settle(stripeRefundId)).rejects.toThrow('killed');
      jest.restoreAllMocks();
    });
    expect((await refund(spent)).expect(409).body.error.code).toBe('refund_interrupted');
    app.clock.aheadMs = 120_000;
    await app.app.get(MovementBookingJob).run();
    expect(await unspent.left()).toMatchObject({ available: 1_000, debt: 0 });
    expect(await findUnbooked(unspent)).toEqual([]);
  });

  it('that a paused process refuses late does not keep the credit that the job took for it', async () => {
    const wallet = await beginHistory(app, app.control);
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    jest.spyOn(engine, 'execute').mockImplementationOnce(async (command) => {
      jest.restoreAllMocks();
      await wallet.begin(['spend', 600]);
      try {
        return await execute(command);
      } finally {
        // The process is paused here. Meanwhile the customer has the credit again, and Stripe does not answer the job.
        await wallet.take(['top_up', 1_000]);
        stripeIsAway();
        await sweepRefunds();
      }
    });
    (await refund(wallet)).expect(409);
    app.control.clearFaults();
    await sweepRefunds();
    await settled(app);
    // $10.00 and $10.00 bought, $6.00 spent, $10.00 refunded.
    expect(await wallet.left()).toMatchObject({ available: 400, legs: { refund: 1_000 } });
  });

  it('that another process has refused does not keep the credit that this one takes after that', async () => {
    const wallet = await beginHistory(app, app.control);
    interrupt('refund:re_', async () => {
      const [row] = await app.dataSource.query<{ id: string }[]>(
        `SELECT id FROM refunds WHERE account_id = $1`,
        [wallet.accountId],
      );
      const refunds = app.app.get(RefundRepository);
      const made = await refunds.find(wallet.accountId, row?.id ?? '');
      if (made === null) throw new Error('there is no refund');
      expect(await refunds.refuse(made, 'insufficient_credits')).toBe(true);
    });
    (await refund(wallet)).expect(409);
    expect(await wallet.left()).toMatchObject({ available: 1_000 });
  });
});
