import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { DisputeMovementRepository } from '../../src/payments/disputes/dispute-movement.repository.js';
import { DisputeSettlementService } from '../../src/payments/disputes/dispute-settlement.service.js';
import { MovementBookingJob } from '../../src/payments/disputes/movement-booking.job.js';
import { MovementBookingService } from '../../src/payments/disputes/movement-booking.service.js';
import { RefundEvents } from '../../src/payments/refunds/refund.events.js';
import { RefundRepository } from '../../src/payments/refunds/refund.repository.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../../src/payments/stripe/payment-gateway.js';
import { RefundSweepJob } from '../../src/payments/refunds/refund-sweep.job.js';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
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

/**
 * Runs `before` the first command whose reference contains this text, and `after` when it has ended in any way. An error
 * of theirs is a crash at this point.
 */
function interrupt(text: string, before: () => Promise<void>, after?: () => Promise<void>): void {
  const engine = app.app.get(WalletEngine);
  const execute = engine.execute.bind(engine);
  let isFirst = true;
  jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
    if (!isFirst || !('reference' in command) || !command.reference.includes(text)) return execute(command);
    isFirst = false;
    await before();
    const [outcome] = await Promise.allSettled([execute(command)]);
    await after?.();
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}

const die = (): Promise<never> => Promise.reject(new Error('killed'));
const nothing = (): Promise<void> => Promise.resolve();

/** As another process refuses a refund of this payment that it could not find the credit for. */
async function refuseElsewhere({ accountId, topUpId }: ReturnHistory): Promise<void> {
  const refunds = app.app.get(RefundRepository);
  const topUp = await app.app.get(TopUpRepository).find(accountId, topUpId);
  if (topUp === null) throw new Error('there is no top-up');
  const [made] = await refunds.findByTopUp(topUp);
  if (made === undefined) throw new Error('there is no refund');
  expect(await refunds.refuse(topUp, made, 'insufficient_credits')).toBe(true);
}

/**
 * Payments of which one has the credit that the refund of the other will take, because a refund at Stripe fails in the moment
 * before. A dispute takes that credit again, but the process that books both dies in between.
 */
async function returnAndTakeAgain({ unspent }: Wallet): Promise<() => Promise<void>> {
  await unspent.take(['refund_elsewhere', 1_050]);
  await unspent.take(['dispute', 'lost', 1_050]);
  const unfreeze = { reason: 'checked' };
  (await app.operator.post(`/v1/accounts/${unspent.accountId}/unfreeze`, unfreeze)).expect(200);
  await unspent.take(['top_up', 1_000]);
  const stripeRefundId = await unspent.stripeRefundId();
  app.control.setWebhookFaults({ loseEvents: true });
  return async () => {
    await app.control.failRefund(stripeRefundId);
    jest.restoreAllMocks();
    interrupt(':covered:', die);
    await expect(app.app.get(RefundEvents).settle(stripeRefundId)).rejects.toThrow('killed');
    jest.restoreAllMocks();
  };
}

/** As the job does when the process that decided has been silent for a minute. */
async function bookLate(): Promise<void> {
  app.clock.aheadMs = 120_000;
  await app.app.get(MovementBookingJob).run();
}

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
    await bookLate();
    expect(await findUnbooked(unspent)).toEqual([]);
    expect((await refund(spent)).expect(409).body.error.code).toBe('refund_exceeds_credit');
  });

  it('is booked also when Stripe gave money for the dispute before it took any', async () => {
    const wallet = await beginHistory(app, app.control);
    await wallet.take(['dispute', 'warning_needs_response']);
    await wallet.take(['dispute_moves', 100]);
    await wallet.take(['becomes', 'needs_response']);
    expect(await findUnbooked(wallet)).toEqual([]);
    expect(await wallet.left()).toMatchObject({ available: 95, debt: 0, status: 'frozen' });
  });

  it('leaves the wallet active once a dispute is won that moved no money, whichever of two processes is late with what it has read', async () => {
    const wallet = await beginHistory(app, app.control);
    app.control.setWebhookFaults({ loseEvents: true });
    await wallet.begin(['dispute', 'needs_response']);
    const settlement = app.app.get(DisputeSettlementService);
    const gateway = app.app.get<PaymentGateway>(PAYMENT_GATEWAY);
    const retrieve = gateway.retrieveDispute.bind(gateway);
    let isFirst = true;
    jest.spyOn(gateway, 'retrieveDispute').mockImplementation(async (id) => {
      const isLate = isFirst;
      isFirst = false;
      const read = await retrieve(id);
      if (isLate) {
        // This process is paused here. Another one handles the events until the dispute is won.
        await wallet.begin(['becomes', 'won']);
        await settlement.settle(id);
      }
      // Some payment methods take the money only when the dispute is lost.
      return read === null ? null : { ...read, movements: [] };
    });
    await settlement.settle(wallet.disputeId);
    expect(await wallet.left()).toMatchObject({ available: 1_000, debt: 0, status: 'active' });
  });
});

describe('what is decided of a payment', () => {
  it('is booked in the order of the decisions, whatever the clocks of the processes say that decide', async () => {
    const wallet = await beginHistory(app, app.control);
    const stripeRefundIds: string[] = [];
    for (const credit of [200, 300]) {
      const { id } = (await refund(wallet, credit)).expect(200).body;
      const made = await app.app.get(RefundRepository).find(wallet.accountId, id);
      stripeRefundIds.push(made?.stripeRefundId ?? '');
    }
    await settled(app);
    app.control.setWebhookFaults({ loseEvents: true });
    const booking = jest.spyOn(app.app.get(MovementBookingService), 'bookAll').mockImplementation(die);
    const failRefund = async (id = ''): Promise<void> => {
      await app.control.failRefund(id);
      await expect(app.app.get(RefundEvents).settle(id)).rejects.toThrow('killed');
    };
    const settleDispute = (): Promise<void> =>
      expect(app.app.get(DisputeSettlementService).settle(wallet.disputeId)).rejects.toThrow('killed');
    app.clock.aheadMs = 60_000;
    await failRefund(stripeRefundIds[0]);
    app.clock.aheadMs = 0;
    await wallet.begin(['dispute', 'needs_response', 500]);
    await settleDispute();
    app.clock.aheadMs = 60_000;
    await wallet.begin(['becomes', 'won']);
    await settleDispute();
    app.clock.aheadMs = 0;
    await failRefund(stripeRefundIds[1]);
    const topUp = await app.app.get(TopUpRepository).find(wallet.accountId, wallet.topUpId);
    if (topUp === null) throw new Error('there is no top-up');
    const decided = await app.app.get(DisputeMovementRepository).findUnbooked(topUp);
    expect(
      decided.map((each) =>
        each.type === 'failed_refund' ? each.refund.stripeRefundId : Number(each.movement.amountCents),
      ),
    ).toEqual([stripeRefundIds[0], -500, 500, stripeRefundIds[1]]);
    booking.mockRestore();
    app.clock.aheadMs = 300_000;
    await app.app.get(MovementBookingJob).run();
    expect(await wallet.left()).toMatchObject({ available: 1_000, debt: 0 });
  });
});

describe('the job', () => {
  it('books a payment also when another one cannot be booked', async () => {
    const payments = [await beginHistory(app, app.control), await beginHistory(app, app.control)] as const;
    for (const payment of payments) {
      app.control.failRequests({ method: 'POST', pathPrefix: '/v1/refunds', outcome: 400 });
      interrupt(':failed', die);
      (await refund(payment)).expect(500);
      jest.restoreAllMocks();
    }
    interrupt(':failed', die);
    await bookLate();
    const left = await Promise.all(payments.map((payment) => payment.left()));
    expect(left.map(({ available }) => available)).toEqual([0, 1_000]);
    await bookLate();
    expect(await payments[0].left()).toMatchObject({ available: 1_000 });
  });
});

describe('a refund', () => {
  it('that Stripe refused returns its credit, once, also when the process died before that', async () => {
    const wallet = await beginHistory(app, app.control);
    app.control.failRequests({ method: 'POST', pathPrefix: '/v1/refunds', outcome: 400 });
    interrupt(':failed', die);
    (await refund(wallet)).expect(500);
    expect(await wallet.left()).toMatchObject({ available: 0 });
    await bookLate();
    await bookLate();
    expect(await wallet.left()).toMatchObject({ available: 1_000, legs: { reinstatement: 1_000 } });
  });

  it('sends nothing to a card that comes back and is taken again while it is begun', async () => {
    const wallet = await twoPayments();
    interrupt('refund:re_', await returnAndTakeAgain(wallet));
    expect((await refund(wallet.spent)).expect(409).body.error.code).toBe('refund_interrupted');
    await bookLate();
    expect(await wallet.unspent.left()).toMatchObject({ available: 1_000, debt: 0 });
    expect(await findUnbooked(wallet.unspent)).toEqual([]);
  });

  it('sends nothing of that to a card either when the process dies as soon as it has the credit, and the job continues', async () => {
    const wallet = await twoPayments();
    interrupt('refund:re_', await returnAndTakeAgain(wallet), die);
    (await refund(wallet.spent)).expect(500);
    await bookLate();
    await sweepRefunds();
    expect(await wallet.unspent.left()).toMatchObject({ available: 1_000, debt: 0 });
  });

  it('sends nothing of that to a card either when all of it happens before the row of the request is there', async () => {
    const wallet = await twoPayments();
    const happen = await returnAndTakeAgain(wallet);
    const refunds = app.app.get(RefundRepository);
    const insert = refunds.insert.bind(refunds);
    jest.spyOn(refunds, 'insert').mockImplementationOnce(async (...row) => {
      await happen();
      return insert(...row);
    });
    expect((await refund(wallet.spent)).expect(409).body.error.code).toBe('refund_interrupted');
    await bookLate();
    expect(await wallet.unspent.left()).toMatchObject({ available: 1_000, debt: 0 });
  });

  it('that the job has sent stays sent when the paused process finds that other money moved since', async () => {
    const { spent, unspent } = await twoPayments();
    interrupt('refund:re_', nothing, async () => {
      await sweepRefunds();
      await settled(app);
      await spent.take(['dispute', 'needs_response', 1_050]);
    });
    expect((await refund(unspent)).expect(200).body).toMatchObject({ status: 'succeeded' });
    // The credit is not in the wallet again, so the dispute of what was spent leaves a debt.
    expect(await unspent.left()).toMatchObject({ available: -1_000, debt: 1_000, legs: { refund: 1_000 } });
  });

  it('that the job is sending is not interrupted by the paused process any more', async () => {
    const { spent, unspent } = await twoPayments();
    interrupt('refund:re_', nothing, async () => {
      stripeIsAway();
      await sweepRefunds();
      app.control.clearFaults();
      await spent.take(['dispute', 'needs_response', 1_050]);
    });
    expect((await refund(unspent)).expect(200).body).toMatchObject({ status: 'succeeded' });
    expect(await unspent.left()).toMatchObject({ debt: 1_000, legs: { refund: 1_000 } });
  });

  it('that Stripe has accepted from another process is not failed by a refusal that this one got before', async () => {
    const wallet = await beginHistory(app, app.control);
    app.control.failRequests({ method: 'POST', pathPrefix: '/v1/refunds', outcome: 400 });
    const refunds = app.app.get(RefundRepository);
    const decideFailure = refunds.decideFailure.bind(refunds);
    jest.spyOn(refunds, 'decideFailure').mockImplementationOnce(async (...failure) => {
      await sweepRefunds();
      return decideFailure(...failure);
    });
    expect((await refund(wallet)).expect(200).body).toMatchObject({ status: 'succeeded' });
    expect(await wallet.left()).toMatchObject({ available: 0, legs: { refund: 1_000 } });
  });

  it('that a paused process would refuse is reported as made when the job has taken its credit and sent it', async () => {
    const wallet = await beginHistory(app, app.control);
    const spend = () => wallet.begin(['spend', 600]);
    interrupt('refund:re_', spend, async () => {
      // The process is paused here. In the meantime the customer has the credit again, and Stripe does not answer the job.
      await wallet.take(['top_up', 1_000]);
      stripeIsAway();
      await sweepRefunds();
      app.control.clearFaults();
    });
    expect((await refund(wallet)).expect(200).body).toMatchObject({ status: 'succeeded' });
    // $10.00 and $10.00 bought, $6.00 spent, $10.00 refunded.
    expect(await wallet.left()).toMatchObject({ available: 400, legs: { refund: 1_000 } });
  });

  it('that is refused leaves to a dispute of the payment what it had counted for itself', async () => {
    const wallet = await beginHistory(app, app.control);
    interrupt('refund:re_', async () => {
      await wallet.begin(['spend', 1_000]);
      await wallet.take(['dispute', 'needs_response', 1_050]);
    });
    expect((await refund(wallet)).expect(409).body.error.code).toBe('refund_exceeds_credit');
    expect(await wallet.left()).toMatchObject({ debt: 1_000, legs: { dispute: 1_000, dispute_fee: 50 } });
  });

  it('that is refused leaves it that also when the process dies as soon as it has refused', async () => {
    const wallet = await beginHistory(app, app.control);
    interrupt('refund:re_', async () => {
      await wallet.begin(['spend', 1_000]);
      await wallet.take(['dispute', 'needs_response', 1_050]);
      jest.spyOn(app.app.get(MovementBookingService), 'bookAll').mockImplementationOnce(die);
    });
    (await refund(wallet)).expect(500);
    await bookLate();
    expect(await wallet.left()).toMatchObject({ debt: 1_000, legs: { dispute: 1_000, dispute_fee: 50 } });
  });

  it('that another process has refused does not keep the credit that this one takes after that', async () => {
    const wallet = await beginHistory(app, app.control);
    interrupt('refund:re_', () => refuseElsewhere(wallet));
    (await refund(wallet)).expect(409);
    expect(await wallet.left()).toMatchObject({ available: 1_000 });
  });

  it('that another process has refused gives that credit back also when the process that took it dies', async () => {
    const wallet = await beginHistory(app, app.control);
    interrupt('refund:re_', () => refuseElsewhere(wallet), die);
    (await refund(wallet)).expect(500);
    await sweepRefunds();
    await sweepRefunds();
    expect(await wallet.left()).toMatchObject({ available: 1_000, legs: { reinstatement: 1_000 } });
  });

  it('that Stripe refuses because the whole payment was refunded in its dashboard returns no credit that a card has already', async () => {
    const { spent, unspent } = await twoPayments();
    stripeIsAway();
    (await refund(spent)).expect(200);
    app.control.clearFaults();
    await spent.take(['refund_elsewhere', 1_050]);
    expect(await spent.left()).toMatchObject({
      available: 0,
      debt: 0,
      legs: { refund: 2_000, reinstatement: 1_000 },
    });
    const statuses = await app.dataSource.query<{ status: string; excess: string }[]>(
      `SELECT status, excess_micros::text AS excess FROM refunds WHERE account_id = $1 ORDER BY id`,
      [spent.accountId],
    );
    expect(statuses).toEqual([
      { status: 'failed', excess: '0' },
      { status: 'succeeded', excess: '0' },
    ]);
    expect((await refund(unspent)).expect(409).body.error.code).toBe('refund_exceeds_credit');
  });

  it('whose part was refunded with all the rest in the dashboard is no loss of ours either, in whatever order the events come', async () => {
    const { spent } = await twoPayments();
    app.control.setWebhookFaults({ loseEvents: true });
    (await refund(spent, 400)).expect(200);
    const ours = await spent.stripeRefundId();
    await app.control.failRefund(ours);
    await spent.begin(['refund_elsewhere', 1_050]);
    const made = app.control.events('refund.created').at(0)?.data.object['id'];
    await app.app.get(RefundEvents).settle(String(made));
    await app.app.get(RefundEvents).settle(ours);
    expect(await spent.left()).toMatchObject({
      available: 0,
      debt: 0,
      legs: { refund: 1_400, reinstatement: 400 },
    });
    expect((await spent.left()).legs).not.toHaveProperty('refund_excess');
  });

  it('that was made at Stripe and failed there leaves the credit, whichever of two processes is late with what it has read', async () => {
    const wallet = await beginHistory(app, app.control);
    app.control.setWebhookFaults({ loseEvents: true });
    await wallet.begin(['refund_elsewhere', 1_050]);
    const stripeRefundId = String(app.control.events('refund.created').at(0)?.data.object['id']);
    const gateway = app.app.get<PaymentGateway>(PAYMENT_GATEWAY);
    const retrieve = gateway.retrieveRefund.bind(gateway);
    jest.spyOn(gateway, 'retrieveRefund').mockImplementationOnce(async (id) => {
      const read = await retrieve(id);
      // This process is paused here. Another one handles the event of the failure.
      await app.control.failRefund(id);
      await app.app.get(RefundEvents).settle(id);
      return read;
    });
    await app.app.get(RefundEvents).settle(stripeRefundId);
    expect(await wallet.left()).toMatchObject({ available: 1_000, debt: 0, status: 'active' });
  });
});
