import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { DisputeSettlementService } from '../../src/payments/disputes/dispute-settlement.service.js';
import { RefundEvents } from '../../src/payments/refunds/refund.events.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { settled } from '../fixtures/top-up-books.js';
import { DisputedPayments } from '../support/payments/disputed-payments.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(async () => {
  jest.restoreAllMocks();
  await expectBooksToBalance(app.dataSource);
});

async function start(): Promise<DisputedPayments> {
  const wallet = await DisputedPayments.begin(app);
  await wallet.payments[1].take(['spend', 1_000]);
  await wallet.dispute('A', 0);
  await wallet.dispute('B', 0);
  return wallet;
}
/** The money of a spent payment was taken by a refund that somebody made at Stripe, and after that by a dispute, beyond the payment. */
async function startRefunded(): Promise<DisputedPayments> {
  const wallet = await DisputedPayments.begin(app);
  await wallet.payments[1].take(['spend', 1_000]);
  await wallet.payments[0].take(['refund_elsewhere', 1_050]);
  await wallet.dispute('A', 0);
  await give(wallet.accountId);
  return wallet;
}
/** Holds up the first booking under a reference that ends so until `then` is over. */
function holdUp(ending: string, then: () => Promise<void>): void {
  const engine = app.app.get(WalletEngine);
  const execute = engine.execute.bind(engine);
  let isHeld = false;
  jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
    if (!isHeld && 'reference' in command && command.reference.endsWith(ending)) {
      isHeld = true;
      await then();
    }
    return execute(command);
  });
}
async function give(accountId: string): Promise<void> {
  (
    await app.operator.post(`/v1/accounts/${accountId}/adjustments`, {
      amount_micros: '10000000',
      reason: 'Goodwill',
    })
  ).expect(201);
}
async function lotsOf(wallet: DisputedPayments): Promise<unknown[]> {
  return app.dataSource.query(
    `SELECT refundable, remaining_micros FROM credit_lots WHERE account_id=$1 AND remaining_micros>0`,
    [wallet.accountId],
  );
}
describe('two returns of one payment that Stripe reports at the same moment', () => {
  it('leave goodwill that paid the debt off the card', async () => {
    const wallet = await start();
    await give(wallet.accountId);
    await Promise.all([wallet.begin('A', ['becomes', 'won']), wallet.begin('B', ['becomes', 'won'])]);
    await settled(app);
    expect(await lotsOf(wallet)).toEqual([{ refundable: false, remaining_micros: '10000000' }]);
  });
  it('leave goodwill that paid the debt off the card, when one of them is a refund that fails', async () => {
    const wallet = await startRefunded();
    await Promise.all([wallet.payments[0].begin(['refund_fails']), wallet.begin('A', ['becomes', 'won'])]);
    await settled(app);
    expect(await lotsOf(wallet)).toEqual([{ refundable: false, remaining_micros: '10000000' }]);
  });
  it('leave goodwill off the card, when a dispute is won between the decision that a refund fails and its booking', async () => {
    const wallet = await startRefunded();
    const disputes = app.app.get(DisputeSettlementService);
    holdUp(':failed', async () => {
      await wallet.begin('A', ['becomes', 'won']);
      await disputes.settle(wallet.disputeId('A'));
    });
    await wallet.payments[0].take(['refund_fails']);
    expect(await lotsOf(wallet)).toEqual([{ refundable: false, remaining_micros: '10000000' }]);
  });
  it('leave goodwill off the card, when a refund fails between the decision that a dispute gives back and its booking', async () => {
    const wallet = await startRefunded();
    const refunds = app.app.get(RefundEvents);
    holdUp(':reinstated', async () => {
      await wallet.payments[0].begin(['refund_fails']);
      await refunds.settle(await wallet.payments[0].stripeRefundId());
    });
    await wallet.takeAll('A', ['becomes', 'won']);
    expect(await lotsOf(wallet)).toEqual([{ refundable: false, remaining_micros: '10000000' }]);
  });
  it('end the same when the process dies between the decision that a refund fails and its booking', async () => {
    const wallet = await startRefunded();
    holdUp(':failed', () => Promise.reject(new Error('killed')));
    await wallet.payments[0].begin(['refund_fails']);
    await wallet.begin('A', ['becomes', 'won']);
    await settled(app);
    expect(await lotsOf(wallet)).toEqual([{ refundable: false, remaining_micros: '10000000' }]);
  });
  it('owe again what was written off for a dispute of another payment', async () => {
    const wallet = await DisputedPayments.begin(app);
    await wallet.dispute('C', 1, 'lost');
    await wallet.dispute('A', 0);
    await wallet.dispute('B', 0);
    await wallet.writeOff('C');
    await Promise.all([wallet.begin('A', ['becomes', 'won']), wallet.begin('B', ['becomes', 'won'])]);
    await settled(app);
    expect(await wallet.left()).toEqual({ available: 0, debt: 0, givenUp: 0 });
  });
});
