import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { settled } from '../fixtures/top-up-books.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';
import type { Step } from '../support/payments/return-histories.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => expectBooksToBalance(app.dataSource));

/** A customer's payments, each of $10.50 for $10.00 of credit, and the disputes of them by name. */
class Case {
  private readonly disputes = new Map<string, { readonly payment: ReturnHistory; readonly id: string }>();

  private constructor(readonly payments: readonly [ReturnHistory, ReturnHistory]) {}

  /** The first payment is spent before the second one is made. */
  static async begin(): Promise<Case> {
    const first = await beginHistory(app, app.control);
    await first.take(['spend', 1_000]);
    return new Case([first, await beginHistory(app, app.control, first.customer)]);
  }

  get accountId(): string {
    return this.payments[0].accountId;
  }

  async dispute(name: string, payment: 0 | 1, status = 'needs_response', cents = 1_050): Promise<void> {
    await this.payments[payment].take(['dispute', status, cents]);
    this.disputes.set(name, { payment: this.payments[payment], id: this.payments[payment].disputeId });
  }

  writeOff(name: string): Promise<void> {
    return this.takeAll(name, ['write_off']);
  }

  async takeAll(name: string, ...steps: readonly Step[]): Promise<void> {
    for (const step of steps) await this.named(name).take(step);
  }

  begin(name: string, step: Step): Promise<void> {
    return this.named(name).begin(step);
  }

  async left(): Promise<{ available: number; debt: number | undefined; givenUp: number }> {
    const { available, debt, legs } = await this.payments[0].left();
    return { available, debt, givenUp: (legs['write_off'] ?? 0) - (legs['write_off_reversal'] ?? 0) };
  }

  private named(name: string): ReturnHistory {
    const { payment, id } = this.disputes.get(name) ?? { payment: this.payments[0], id: '' };
    payment.disputeId = id;
    return payment;
  }
}

async function start(): Promise<Case> {
  const wallet = await Case.begin();
  await wallet.payments[1].take(['spend', 1_000]);
  await wallet.dispute('A', 0);
  await wallet.dispute('B', 0);
  return wallet;
}
async function give(accountId: string): Promise<void> {
  (
    await app.operator.post(`/v1/accounts/${accountId}/adjustments`, {
      amount_micros: '10000000',
      reason: 'Goodwill',
    })
  ).expect(201);
}
async function lotsOf(wallet: Case): Promise<unknown[]> {
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
  it('owe again what was written off for a dispute of another payment', async () => {
    const wallet = await Case.begin();
    await wallet.dispute('C', 1, 'lost');
    await wallet.dispute('A', 0);
    await wallet.dispute('B', 0);
    await wallet.writeOff('C');
    await Promise.all([wallet.begin('A', ['becomes', 'won']), wallet.begin('B', ['becomes', 'won'])]);
    await settled(app);
    expect(await wallet.left()).toEqual({ available: 0, debt: 0, givenUp: 0 });
  });
});
