import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { DisputeMovementRepository } from '../../src/payments/disputes/dispute-movement.repository.js';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { settled } from '../fixtures/top-up-books.js';
import { DisputedPayments } from '../support/payments/disputed-payments.js';
import type { Step } from '../support/payments/return-histories.js';
import { eventually } from '../support/processes.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => expectBooksToBalance(app.dataSource));

const WON: readonly Step[] = [
  ['becomes', 'appeal_needs_response'],
  ['becomes', 'appeal_under_review'],
  ['becomes', 'won'],
];

describe('two disputes of one payment, of which one gives its money back and takes it again', () => {
  it('leave the debt of another payment written off, when all of it came back twice', async () => {
    const wallet = await DisputedPayments.begin(app);
    await wallet.payments[1].take(['spend', 1_000]);
    await wallet.dispute('first', 0);
    await wallet.dispute('second', 0);
    await wallet.moves('second', 1_050);
    await wallet.moves('first', 1_050);
    await wallet.dispute('lost', 1, 'lost');
    await wallet.forgive('lost');
    for (const [name, cents] of [
      ['first', -1_050],
      ['second', -1_050],
      ['first', 1_050],
      ['second', 1_050],
    ] as const)
      await wallet.moves(name, cents);
    expect(await wallet.left()).toEqual({ available: 0, debt: 0, givenUp: 1_000 });
  });

  it('leave a debt owed that was written off while the other one had the credit, when that one is won', async () => {
    const wallet = await DisputedPayments.begin(app);
    await wallet.dispute('won', 1, 'lost');
    await wallet.dispute('again', 1);
    await wallet.moves('again', 1_050);
    await wallet.dispute('lost', 0, 'lost');
    await wallet.forgive('lost');
    await wallet.moves('again', -1_050);
    await wallet.takeAll('won', ...WON);
    expect(await wallet.left()).toEqual({ available: -1_000, debt: 1_000, givenUp: 0 });
  });

  it('do not matter to a dispute of another payment that comes back in between', async () => {
    const wallet = await DisputedPayments.begin(app);
    await wallet.dispute('back', 1);
    await wallet.dispute('stays', 1);
    await wallet.dispute('again', 0);
    await wallet.moves('again', 1_050);
    await wallet.moves('again', -1_050);
    await wallet.writeOff('again');
    await wallet.moves('back', 1_050);
    expect(await wallet.left()).toEqual({ available: 0, debt: 0, givenUp: 1_000 });
  });
});

describe('a process that ends after it has decided that money is back, and before it has booked it', () => {
  /** B has a little of the unspent payment, A the rest, and B what goes beyond it; the spent one is lost and forgiven. */
  async function twoOfOnePayment(): Promise<DisputedPayments> {
    const wallet = await DisputedPayments.begin(app);
    await wallet.dispute('B', 1, 'needs_response', 21);
    await wallet.dispute('A', 1, 'needs_response', 1_029);
    await wallet.moves('B', -1_029);
    await wallet.dispute('C', 0, 'lost');
    await wallet.forgive('C');
    await wallet.moves('B', -21);
    return wallet;
  }

  it('leaves the wallet as one that booked it, although another process has decided since what a dispute takes of it', async () => {
    const orderly = await twoOfOnePayment();
    await orderly.moves('A', 1_029);
    const cutOff = await twoOfOnePayment();
    const { accountId } = cutOff;
    await app.dataSource.transaction(async (tx) => {
      await tx.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [accountId]);
      await cutOff.begin('A', ['dispute_moves', 1_029]);
      await eventually('the event has failed', async () => {
        const waiting = `SELECT FROM stripe_events WHERE processed_at IS NULL AND last_error IS NOT NULL`;
        return (await app.dataSource.query<unknown[]>(waiting)).length > 0;
      });
    });
    const topUp = await app.app.get(TopUpRepository).find(accountId, cutOff.payments[1].topUpId);
    if (topUp === null) throw new Error('the top-up is gone');
    await app.app.get(DisputeMovementRepository).cover(topUp);
    await settled(app);
    const left = await orderly.left();
    expect(left).toEqual({ available: 0, debt: 0, givenUp: 1_000 });
    expect(await cutOff.left()).toEqual(left);
  });
});
