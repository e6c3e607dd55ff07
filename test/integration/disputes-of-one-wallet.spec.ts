import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { settled } from '../fixtures/top-up-books.js';
import { eventually } from '../support/processes.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';
import type { Step } from '../support/payments/return-histories.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => expectBooksToBalance(app.dataSource));

type Payments = { readonly spent: ReturnHistory; readonly unspent: ReturnHistory };

/** A customer who spent the first of two payments of $10.50 for $10.00 of credit. */
async function twoPayments(): Promise<Payments> {
  const spent = await beginHistory(app, app.control);
  await spent.take(['spend', 1_000]);
  return { spent, unspent: await beginHistory(app, app.control, spent.customer) };
}

async function takeAll(history: ReturnHistory, ...steps: readonly Step[]): Promise<void> {
  for (const step of steps) await history.take(step);
}

/** A bank that lost at first has its customer's case looked at again, and decides for us. */
const APPEALED: readonly Step[] = [
  ['becomes', 'appeal_needs_response'],
  ['becomes', 'appeal_under_review'],
  ['becomes', 'won'],
];

async function give({ accountId }: ReturnHistory, cents: number): Promise<void> {
  const body = { amount_micros: `${cents * 10_000}`, reason: 'Goodwill for the outage of 3 May' };
  (await app.operator.post(`/v1/accounts/${accountId}/adjustments`, body)).expect(201);
}

/** Stripe reports something while another transaction has locked the wallet: it is decided, and not booked. */
async function whileLocked({ accountId }: ReturnHistory, report: () => Promise<void>): Promise<void> {
  await app.dataSource.transaction(async (tx) => {
    await tx.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [accountId]);
    await report();
    await eventually('the event has failed', async () => {
      const waiting = `SELECT FROM stripe_events WHERE processed_at IS NULL AND last_error IS NOT NULL`;
      return (await app.dataSource.query<unknown[]>(waiting)).length > 0;
    });
  });
}

/** What was written off and is not owed again, in cents. */
async function givenUp({ accountId }: ReturnHistory): Promise<number> {
  const [row] = await app.dataSource.query<{ micros: string }[]>(
    `SELECT coalesce(sum(CASE kind WHEN 'write_off' THEN amount_micros WHEN 'write_off_reversal' THEN -amount_micros END), 0)
              AS micros FROM transfers WHERE account_id = $1`,
    [accountId],
  );
  return Number(row?.micros) / 10_000;
}

/** Neither credit, nor debt, nor anything that a card could get: the bank has what the customer did not spend. */
async function expectNothingLeft({ spent, unspent }: Payments): Promise<void> {
  expect(await spent.left()).toMatchObject({ available: 0, debt: 0 });
  expect(await givenUp(spent)).toBe(0);
  for (const history of [spent, unspent]) {
    const { body } = await history.customer.client.post(`/v1/top_ups/${history.topUpId}/refund`, {});
    expect(body.error.code).toMatch(/^(refund_exceeds_credit|top_up_not_refundable)$/);
  }
}

describe('the debt of one dispute that was written off', () => {
  it('is owed again when another one gives back what it took of the same credit', async () => {
    const payments = await twoPayments();
    const { spent, unspent } = payments;
    await takeAll(spent, ['dispute', 'lost']);
    await takeAll(unspent, ['dispute', 'lost'], ['write_off']);
    expect(await givenUp(unspent)).toBe(1_000);
    await takeAll(spent, ...APPEALED);
    await expectNothingLeft(payments);
  });

  it('is owed again whichever of the two it was written off for', async () => {
    const payments = await twoPayments();
    const { spent, unspent } = payments;
    await takeAll(spent, ['dispute', 'lost']);
    await takeAll(unspent, ['dispute', 'lost']);
    await takeAll(spent, ['write_off']);
    await takeAll(unspent, ...APPEALED);
    await expectNothingLeft(payments);
  });

  it('is owed again when a refund made at Stripe, which took the credit, fails', async () => {
    const payments = await twoPayments();
    const { spent, unspent } = payments;
    await takeAll(spent, ['refund_elsewhere', 1_050]);
    await takeAll(unspent, ['dispute', 'lost'], ['write_off']);
    await takeAll(spent, ['refund_fails']);
    await expectNothingLeft(payments);
  });

  it('stays written off when the other one pays what it left itself', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['spend', 1_000], ['dispute', 'lost']);
    await takeAll(spent, ['dispute', 'lost']);
    await takeAll(unspent, ['write_off']);
    expect(await unspent.left()).toMatchObject({ debt: 1_000 });
    await takeAll(spent, ...APPEALED);
    expect(await unspent.left()).toMatchObject({ available: 0, debt: 0 });
    expect(await givenUp(unspent)).toBe(1_000);
  });

  it('stays written off when a dispute that came later is won, so that what was bought since is the customer’s', async () => {
    const spent = await beginHistory(app, app.control);
    await takeAll(spent, ['spend', 1_000], ['dispute', 'lost'], ['write_off'], ['unfreeze']);
    const later = await beginHistory(app, app.control, spent.customer);
    await takeAll(later, ['dispute', 'needs_response'], ['becomes', 'won'], ['refund', 1_000]);
    expect(await givenUp(spent)).toBe(1_000);
    expect(await later.left()).toMatchObject({ available: 0, debt: 0 });
  });
});

describe('money that comes back, and that a dispute of the same payment had taken beyond it', () => {
  it('undoes nothing that was written off since then, as if the refund had never been made', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['refund', 'all'], ['dispute', 'lost']);
    await takeAll(spent, ['dispute', 'lost'], ['write_off'], ['unfreeze']);
    await takeAll(unspent, ['refund_fails']);
    expect(await spent.left()).toMatchObject({ available: 0, debt: 0 });
    expect(await givenUp(spent)).toBe(1_000);
  });

  it('leaves goodwill what it was, as if the refund had never been made', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['refund', 'all'], ['dispute', 'lost']);
    await takeAll(spent, ['dispute', 'lost']);
    await give(spent, 1_000);
    await takeAll(spent, ['unfreeze']);
    await takeAll(unspent, ['refund_fails']);
    expect(await spent.left()).toMatchObject({ available: 0, debt: 0 });
  });

  it('undoes nothing that was written off since then, as if there had been one dispute only', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['dispute', 'lost']);
    const first = unspent.disputeId;
    await takeAll(unspent, ['dispute', 'lost']);
    const second = unspent.disputeId;
    await takeAll(spent, ['dispute', 'lost'], ['write_off'], ['unfreeze']);
    unspent.disputeId = first;
    await takeAll(unspent, ...APPEALED);
    expect(await spent.left()).toMatchObject({ available: 0, debt: 0 });
    expect(await givenUp(spent)).toBe(1_000);
    // The other dispute had the money all the time: when it is won as well, the customer does not get the money and a forgiven debt.
    unspent.disputeId = second;
    await takeAll(unspent, ...APPEALED);
    expect(await spent.left()).toMatchObject({ available: 0, debt: 0 });
    expect(await givenUp(spent)).toBe(0);
  });
});

describe('a write-off', () => {
  it('for a dispute may follow another that was undone, as often as the money is taken', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(spent, ['dispute', 'lost']);
    await takeAll(unspent, ['dispute', 'lost'], ['write_off']);
    await takeAll(spent, ...APPEALED, ['dispute_moves', -1_050]);
    await takeAll(unspent, ['dispute_moves', 105], ['dispute_moves', -105], ['write_off']);
    expect(await spent.left()).toMatchObject({ debt: 0 });
  });

  it('for a refund that left no debt gives up nothing of what a dispute left', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['refund', 500]);
    await takeAll(spent, ['dispute', 'lost']);
    const { body } = (await unspent.customer.client.get(`/v1/top_ups/${unspent.topUpId}/refunds`)).expect(
      200,
    );
    const path = `/v1/accounts/${spent.accountId}/refunds/${body.data[0].id}/write_off`;
    expect((await app.operator.post(path, {})).expect(200).body.amount_micros).toBe('0');
    expect(await spent.left()).toMatchObject({ debt: 500 });
  });

  it('gives up the debt of what is booked, and another one that of what is booked later', async () => {
    const history = await beginHistory(app, app.control);
    await takeAll(history, ['spend', 1_000], ['dispute', 'lost', 525]);
    const writeOff = async (): Promise<unknown> => {
      const path = `/v1/accounts/${history.accountId}/disputes/${history.disputeId}/write_off`;
      return (await app.operator.post(path, {})).expect(200).body.amount_micros;
    };
    await whileLocked(history, () => history.begin(['dispute_moves', -525]));
    expect(await writeOff()).toBe('5000000');
    await settled(app);
    expect(await writeOff()).toBe('5000000');
    expect(await history.left()).toMatchObject({ available: 0, debt: 0 });
  });
});

describe('goodwill that paid the debt of one dispute', () => {
  it('pays a later debt when it comes back as goodwill, and the doctor knows', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['spend', 1_000]);
    await takeAll(spent, ['dispute', 'lost']);
    await give(spent, 400);
    await takeAll(unspent, ['dispute', 'lost', 210]);
    await takeAll(spent, ...APPEALED);
    expect(await spent.left()).toMatchObject({ available: 200, debt: 0 });
  });

  it('is goodwill again, and goes to no card, when another one gives back what it took of the same credit', async () => {
    const { spent, unspent } = await twoPayments();
    await takeAll(unspent, ['dispute', 'lost']);
    await takeAll(spent, ['dispute', 'lost']);
    await give(spent, 1_000);
    await takeAll(unspent, ...APPEALED, ['refund', 1, 'refund_exceeds_credit']);
    expect(await unspent.left()).toMatchObject({ available: 1_000, debt: 0 });
  });

  it('does not keep what was bought since from being refunded', async () => {
    const spent = await beginHistory(app, app.control);
    await takeAll(spent, ['spend', 1_000], ['dispute', 'lost']);
    await give(spent, 1_000);
    const later = await beginHistory(app, app.control, spent.customer);
    await takeAll(spent, ...APPEALED);
    await takeAll(later, ['refund', 1_001, 'refund_exceeds_credit'], ['refund', 1_000]);
    expect(await later.left()).toMatchObject({ available: 1_000, debt: 0 });
  });
});

describe('a debt that the customer paid', () => {
  it('can be refunded when the disputed money comes back: it was theirs', async () => {
    const spent = await beginHistory(app, app.control);
    await takeAll(spent, ['spend', 1_000], ['dispute', 'lost']);
    const later = await beginHistory(app, app.control, spent.customer);
    await takeAll(spent, ...APPEALED);
    await takeAll(later, ['refund', 1_000]);
    expect(await later.left()).toMatchObject({ available: 0, debt: 0 });
  });
});
