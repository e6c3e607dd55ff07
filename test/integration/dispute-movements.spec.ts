import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { clearing } from '../support/payments/clearing.js';
import { MOVED_DISPUTE_HISTORIES } from '../support/payments/moved-dispute-histories.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';
import type { Step } from '../support/payments/return-histories.js';
import { publishedTo } from '../support/webhooks/published-events.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => expectBooksToBalance(app.dataSource));

async function played(...steps: readonly Step[]): Promise<ReturnHistory> {
  const history = await beginHistory(app, app.control);
  for (const step of steps) await history.take(step);
  return history;
}

async function disputesOf({ accountId }: ReturnHistory): Promise<Record<string, unknown>[]> {
  return (await app.operator.get(`/v1/accounts/${accountId}/disputes`)).expect(200).body.data;
}

describe('the money of a dispute', () => {
  it.each(MOVED_DISPUTE_HISTORIES)(
    'is booked each time that Stripe moves it, and stripe_clearing says what Stripe says: %s',
    async (_name, steps, expected) => {
      const history = await played(...steps);
      expect(await history.left()).toEqual({ debt: 0, status: 'active', ...expected });
      const { booked, reported } = await clearing(app, history);
      expect(booked).toBe(reported);
      await expectBooksToBalance(app.dataSource);
    },
  );

  it('is shown movement by movement, and each time is published once', async () => {
    const history = await played(['dispute', 'won'], ['dispute_moves', -1_050], ['dispute_moves', 525]);
    const [dispute] = await disputesOf(history);
    const movement = (cents: number, credit: number, fee: number) => ({
      amount_cents: cents,
      credit_micros: `${credit * 10_000}`,
      fee_micros: `${fee * 10_000}`,
      tax_micros: '0',
      excess_micros: '0',
      booked_at: expect.any(Number),
    });
    expect(dispute?.['movements']).toEqual([
      movement(-1_050, -1_000, -50),
      movement(1_050, 1_000, 50),
      movement(-1_050, -1_000, -50),
      movement(525, 500, 25),
    ]);
    const published = (await publishedTo(app, history.accountId)).map(({ type }) => type);
    expect(published.filter((type) => type === 'dispute.funds_withdrawn')).toHaveLength(2);
    expect(published.filter((type) => type === 'dispute.funds_reinstated')).toHaveLength(2);
  });

  it('that was taken again counts against its payment: no refund brings it back a second time', async () => {
    const history = await played(['dispute', 'won'], ['dispute_moves', -525], ['unfreeze']);
    await history.take(['refund', 501, 'refund_exceeds_credit']);
    await history.take(['refund', 500]);
    expect(await history.left()).toMatchObject({ available: 0, legs: { refund: 500, refund_fee: 25 } });
  });

  it('keeps the references of its first way out and back, and names every other one by Stripe', async () => {
    const history = await played(['dispute', 'won'], ['dispute_moves', -1_050]);
    const rows = await app.dataSource.query<{ reference: string }[]>(
      `SELECT DISTINCT reference FROM transfers WHERE account_id = $1 AND starts_with(reference, 'dispute:') ORDER BY 1`,
      [history.accountId],
    );
    const dispute = `dispute:${history.disputeId}`;
    expect(rows.map(({ reference }) => reference)).toEqual([
      `${dispute}:reinstated`,
      `${dispute}:withdrawn`,
      expect.stringMatching(`^${dispute}:withdrawn:txn_`),
    ]);
  });
});

describe('a loss that a dispute left beyond its payment', () => {
  const BEYOND = [
    ['refund', 500],
    ['dispute', 'needs_response', 1_050],
  ] as const satisfies readonly Step[];
  const AFTERWARDS = {
    legs: {
      top_up: 1_000,
      top_up_fee: 50,
      refund: 500,
      refund_fee: 25,
      dispute: 1_000,
      dispute_fee: 50,
      dispute_excess: 525,
      reinstatement: 500,
      reinstatement_fee: 25,
      reinstatement_excess: 525,
    },
    available: 0,
    debt: 0,
    status: 'frozen',
  };

  it('is none any more when a refund of the payment fails: the credit that came back is what the dispute took', async () => {
    const history = await played(...BEYOND, ['refund_fails']);
    expect(await history.left()).toEqual(AFTERWARDS);
    expect(await clearing(app, history)).toEqual({ booked: 0, reported: 0 });
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({ available: 1_000, debt: 0, status: 'active' });
    expect(await clearing(app, history)).toEqual({ booked: 1_050, reported: 1_050 });
  });

  it('and is booked so by whatever comes after it, when the process was cut off in between', async () => {
    const history = await played(...BEYOND);
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    let failures = 0;
    jest.spyOn(engine, 'execute').mockImplementation((command) => {
      const isCovering = 'reference' in command && command.reference.includes(':covered:');
      if (!isCovering || failures > 0 || command.accountId !== history.accountId) return execute(command);
      failures += 1;
      return Promise.reject(new Error('cut off'));
    });
    await history.take(['refund_fails']);
    expect(failures).toBe(1);
    expect(await history.left()).toEqual(AFTERWARDS);
  });

  it('leaves a wallet as it is that a person has unfrozen, as long as the credit that came back covers it', async () => {
    const history = await played(...BEYOND, ['unfreeze'], ['refund_fails']);
    expect(await history.left()).toEqual({ ...AFTERWARDS, status: 'active' });
  });

  it('is none any more when another dispute of the payment is won', async () => {
    const history = await played(['dispute', 'needs_response', 1_050]);
    const first = history.disputeId;
    await history.take(['dispute', 'needs_response', 525]);
    expect(await history.left()).toMatchObject({ legs: { dispute: 1_000, dispute_excess: 525 } });
    history.disputeId = first;
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({
      legs: { dispute: 1_500, dispute_fee: 75, dispute_excess: 525, reinstatement_excess: 525 },
      available: 500,
      status: 'frozen',
    });
    expect(await clearing(app, history)).toEqual({ booked: 525, reported: 525 });
  });
});
