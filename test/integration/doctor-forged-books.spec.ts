import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import type { ExportRow } from '../../src/money/ledger/export/export-format.js';
import { TestBooks } from '../support/database/test-books.js';
import { EVERYTHING, exportText, verdictOf } from '../support/wallet/export-files.js';
import { rewriteBook, type ForgedRow } from '../support/wallet/forged-books.js';

/** Somebody with the database's password computed every number and hash of these books again, so only their meaning is wrong. */
let books: TestBooks;
let accountId: string;
let topUpLotId: string;

beforeEach(async () => {
  books = await TestBooks.open();
  accountId = await books.account('Forged');
  topUpLotId = newId('creditLot');
  await books.topUp(accountId, 10_000_000n, { lotId: topUpLotId });
  await books.debit(accountId, 10_000_000n);
});
afterEach(() => books.close());

const CREDITED = 'customer_credit';
const LOST = 'dispute_losses';

/** A dispute took $10.50 of the payment whose credit was spent: $10.00 are owed. Answers its id. */
async function disputed(): Promise<string> {
  const id = `du_${newId('request')}`;
  await books.owner.query(
    `INSERT INTO disputes (account_id, id, top_up_id, status, reason, amount_cents, credit_micros, fee_micros, tax_micros,
                           reinstatement_lot_id, frozen_at, withdrawn_at, created_at, checked_at)
     SELECT account_id, $2, id, 'lost', 'fraudulent', 1050, 10000000, 500000, 0, $3, $4, $4, $4, $4
       FROM top_ups WHERE account_id = $1`,
    [accountId, id, newId('creditLot'), new Date(books.nowMs)],
  );
  await reverseCredit('dispute', `dispute:${id}:withdrawn`, id);
  return id;
}

/** The same by a refund that was made at Stripe. */
async function refunded(status = 'succeeded'): Promise<string> {
  const id = newId('refund');
  await books.owner.query(
    `INSERT INTO refunds (account_id, id, top_up_id, status, credit_micros, fee_micros, amount_cents, payment_intent_id,
                          lot_id, return_lot_id, stripe_refund_id, fingerprint, created_by, created_at, checked_at)
     SELECT account_id, $2, id, $3, 10000000, 500000, 1050, 'pi_1', lot_id, $4, 'at_stripe_1', '', 'stripe', $5, $5
       FROM top_ups WHERE account_id = $1`,
    [accountId, id, status, newId('creditLot'), new Date(books.nowMs)],
  );
  await reverseCredit('refund', `refund:${id}`, id);
  return id;
}

async function reverseCredit(
  cause: 'dispute' | 'refund',
  reference: string,
  sourceId: string,
): Promise<void> {
  const freeze = { id: newId('freeze'), statusChangeId: newId('statusChange'), source: cause, sourceId };
  await books.execute({
    type: 'reverseCredit',
    cause,
    accountId,
    actor: 'stripe',
    reference,
    fingerprint: '',
    memo: null,
    lotId: topUpLotId,
    amountMicros: micros(10_000_000n),
    feeMicros: micros(500_000n),
    taxMicros: micros(0n),
    excessMicros: micros(0n),
    freeze: { ...freeze, reason: reference },
  });
}

/** Goodwill, by the engine. */
async function give(amount: bigint): Promise<void> {
  const named = {
    accountId,
    actor: 'operator:key_1',
    reference: 'adjustment:1',
    fingerprint: '',
    memo: null,
  };
  await books.execute({ type: 'adjust', ...named, lotId: newId('creditLot'), amountMicros: micros(amount) });
}

/** All of the dispute's money, by the engine. */
async function comesBack(id: string): Promise<void> {
  await books.owner.query('UPDATE disputes SET reinstated_at = withdrawn_at WHERE id = $1', [id]);
  await books.execute({
    type: 'reinstate',
    accountId,
    actor: 'stripe',
    reference: `dispute:${id}:reinstated`,
    fingerprint: '',
    memo: null,
    lotId: newId('creditLot'),
    givenLotId: newId('creditLot'),
    amountMicros: micros(10_000_000n),
    feeMicros: micros(500_000n),
    taxMicros: micros(0n),
    excessMicros: micros(0n),
  });
}

const writeOff = (reference: string, amount_micros: string, lot_id: string | null = null): ForgedRow => ({
  kind: 'write_off',
  debit_account: LOST,
  credit_account: CREDITED,
  amount_micros,
  reference,
  lot_id,
});
const movement = (
  kind: string,
  [debit_account, credit_account]: readonly [string, string],
  amount_micros: string,
  more: Partial<ExportRow> & Pick<ExportRow, 'reference'>,
): ForgedRow => ({ kind, debit_account, credit_account, amount_micros, ...more });

/** The money that Stripe gave back for a dispute or a failed refund. */
const returned = (reference: string): ForgedRow[] => [
  movement('reinstatement', ['stripe_clearing', CREDITED], '10000000', { reference, lot_id: 'lot_back' }),
  movement('reinstatement_fee', ['stripe_clearing', 'platform_fee_revenue'], '500000', {
    reference,
    leg: '1',
  }),
];

const append =
  (...more: readonly ForgedRow[]) =>
  (rows: readonly ExportRow[]) => [...rows, ...more];

/** What the doctor names, each row once. */
async function named(): Promise<string[]> {
  const found = await findDiscrepancies(books.dataSource);
  return [...new Set(found.map(({ table, key }) => `${table} ${key}`))];
}

const transfers = (): unknown => expect.stringMatching(`^transfers account_id=${accountId} seq=\\d+$`);
const own = (table: string, id: string): string => `${table} account_id=${accountId} id=${id}`;
const refusedByVerifier = async (): Promise<boolean> =>
  !(await verdictOf(await exportText(books, 'jsonl', EVERYTHING))).ok;

describe('the doctor', () => {
  it('finds nothing wrong with these books before they are forged, nor after they were written again unchanged', async () => {
    await disputed();
    await rewriteBook(books, accountId, (rows) => rows);
    expect(await named()).toEqual([]);
    expect(await refusedByVerifier()).toBe(false);
  });

  it.each([
    ['that only lessens a debt', null],
    ['that opens a lot, as earlier releases wrote them', 'lot_given_away'],
  ])(
    'names a write-off of more than is owed, %s, and so does a verifier of the export',
    async (_what, lotId) => {
      const id = await disputed();
      const reference = `dispute:${id}:written_off`;
      await rewriteBook(
        books,
        accountId,
        append(writeOff(reference, '6000000'), writeOff(`${reference}:2`, '6000000', lotId)),
      );
      expect(await named()).toContainEqual(transfers());
      expect(await refusedByVerifier()).toBe(true);
    },
  );

  it.each([
    ['a dispute', disputed, (id: string) => [`dispute:${id}:written_off`, 'disputes'] as const],
    ['a refund', refunded, (id: string) => [`refund:${id}:written_off`, 'refunds'] as const],
  ])('names a write-off of more than %s took, although as much is owed', async (_what, take, written) => {
    const id = await take();
    const [reference, table] = written(id);
    const owed = movement('debit', [CREDITED, 'usage_revenue'], '5000000', { reference: 'debit:more' });
    await rewriteBook(books, accountId, append(owed, writeOff(reference, '15000000')));
    expect(await named()).toContain(own(table, id));
  });

  it('names a dispute whose debt was written off and whose money came back, when the customer keeps both', async () => {
    const id = await disputed();
    await books.owner.query('UPDATE disputes SET reinstated_at = withdrawn_at');
    const given = writeOff(`dispute:${id}:written_off`, '10000000');
    await rewriteBook(books, accountId, append(given, ...returned(`dispute:${id}:reinstated`)));
    expect(await named()).toEqual([transfers()]);
  });

  it('names a refund whose debt was written off and whose money came back, when the customer keeps both', async () => {
    const id = await refunded('failed');
    const given = writeOff(`refund:${id}:written_off`, '10000000');
    await rewriteBook(books, accountId, append(given, ...returned(`refund:${id}:failed`)));
    expect(await named()).toEqual([transfers()]);
  });

  it('names money of one dispute that came back, when the debt of another which it had caused stays written off', async () => {
    const id = await disputed();
    const bought = movement('top_up', ['stripe_clearing', CREDITED], '10000000', {
      reference: 'top_up:tu_other',
      lot_id: 'lot_other',
    });
    const taken = movement('dispute', [CREDITED, 'stripe_clearing'], '10000000', {
      reference: 'dispute:du_other:withdrawn',
    });
    const given = writeOff('dispute:du_other:written_off', '10000000');
    const back = returned(`dispute:${id}:reinstated`);
    await rewriteBook(books, accountId, append(bought, taken, given, ...back));
    const found = await findDiscrepancies(books.dataSource);
    expect(found.filter(({ table }) => table === 'transfers')).toMatchObject([
      { expected: '10000000 owed again of what was written off while this was away', found: '0' },
    ]);
  });

  it('names money of one dispute that came back to be refunded, when goodwill paid the debt which it had caused', async () => {
    const id = await disputed();
    const given = movement('adjustment', ['goodwill', CREDITED], '10000000', {
      reference: 'adjustment:goodwill',
      lot_id: 'lot_given',
    });
    await rewriteBook(books, accountId, append(given, ...returned(`dispute:${id}:reinstated`)));
    const found = await findDiscrepancies(books.dataSource);
    expect(found.filter(({ table }) => table === 'transfers')).toMatchObject([
      { expected: '10000000 of it as given credit, which paid debt while this was away', found: '0' },
    ]);
  });

  it('names a debt that is owed again while no money comes back', async () => {
    const id = await disputed();
    const reference = `dispute:${id}:written_off`;
    const again = movement('write_off_reversal', [CREDITED, LOST], '10000000', {
      reference: `${reference}:owed_again:6`,
    });
    await rewriteBook(books, accountId, append(writeOff(reference, '10000000'), again));
    await books.owner.query('ALTER TABLE debt_reliefs DISABLE TRIGGER USER');
    await books.owner.query('UPDATE debt_reliefs SET undone_micros = amount_micros');
    expect(await named()).toEqual([transfers()]);
  });

  it('names a write-off that could never be undone, because it is not written down', async () => {
    const id = await disputed();
    await rewriteBook(books, accountId, append(writeOff(`dispute:${id}:written_off`, '10000000')));
    expect(await named()).toEqual([]);
    await books.owner.query('DELETE FROM debt_reliefs');
    expect(await named()).toEqual([expect.stringMatching(`^debt_reliefs account_id=${accountId} seq=\\d+$`)]);
  });

  it.each([
    ['what was owed in addition to it', 'owed_beside_micros = 0', '4000000 still owed in addition'],
    ['what was undone of it', 'undone_micros = 1000000', '0 undone of it by money that came back'],
  ])('names a relief of which %s was changed', async (_what, change, expected) => {
    const id = await disputed();
    await give(6_000_000n);
    await books.execute({
      type: 'writeOff',
      accountId,
      actor: 'operator:key_1',
      reference: `dispute:${id}:written_off:1`,
      memo: null,
    });
    expect(await named()).toEqual([]);
    await books.owner.query('ALTER TABLE debt_reliefs DISABLE TRIGGER USER');
    await books.owner.query(`UPDATE debt_reliefs SET ${change} WHERE kind = 'given_credit'`);
    const found = await findDiscrepancies(books.dataSource);
    expect(found).toMatchObject([{ table: 'debt_reliefs', expected }]);
  });

  it('names bought credit that came back and was made such that goes to no card', async () => {
    const id = await disputed();
    await comesBack(id);
    expect(await named()).toEqual([]);
    await books.owner.query('ALTER TABLE credit_lots DISABLE TRIGGER USER');
    await books.owner.query(`UPDATE credit_lots SET refundable = false WHERE source = 'reinstatement'`);
    expect(await findDiscrepancies(books.dataSource)).toContainEqual(
      expect.objectContaining({
        table: 'transfers',
        expected:
          'at most 0 of it as given credit, which paid debt while this was away; the rest was bought, and may go to a card',
        found: '10000000',
      }),
    );
  });

  it.each([
    ['given', 'adjustment'],
    ['given, and came back after it had paid a debt,', 'reinstatement'],
  ])('names credit that was %s and was made such that goes to a card', async (_what, source) => {
    const id = await disputed();
    await give(10_000_000n);
    await comesBack(id);
    expect(await named()).toEqual([]);
    await books.owner.query('ALTER TABLE credit_lots DISABLE TRIGGER USER');
    await books.owner.query('UPDATE credit_lots SET refundable = true WHERE source = $1', [source]);
    expect(await named()).toContainEqual(
      source === 'adjustment'
        ? expect.stringMatching(`^credit_lots account_id=${accountId} id=`)
        : transfers(),
    );
  });

  it('names a refund that waits for a person, from the first minute', async () => {
    const id = await refunded('needs_review');
    expect(await named()).toEqual([own('refunds', id)]);
  });

  it('names money that a dispute took which is not there', async () => {
    await rewriteBook(
      books,
      accountId,
      append(
        movement('dispute_excess', [LOST, 'stripe_clearing'], '1', {
          reference: 'dispute:du_none:withdrawn',
        }),
      ),
    );
    expect(await named()).toEqual([own('disputes', 'du_none')]);
  });

  it('names a dispute whose money Stripe took again after it came back, as soon as Stripe lists it', async () => {
    const id = await disputed();
    const insertBalanceTransaction = (name: string, cents: number) =>
      books.owner.query(
        `INSERT INTO stripe_balance_transactions (id, livemode, type, reporting_category, currency, amount_cents, fee_cents,
                                                  net_cents, source_id, created_at, stored_at)
         VALUES ($1, false, 'adjustment', 'dispute', 'usd', $2, 0, $2, $3, now(), now())`,
        [name, cents, id],
      );
    await insertBalanceTransaction('txn_taken', -1_050);
    await books.owner.query('UPDATE disputes SET reinstated_at = withdrawn_at');
    await rewriteBook(books, accountId, append(...returned(`dispute:${id}:reinstated`)));
    await insertBalanceTransaction('txn_back', 1_050);
    expect(await named()).toEqual([]);
    await insertBalanceTransaction('txn_again', -1_050);
    expect(await named()).toEqual([`transfers account_id=${accountId} reference=dispute:${id}:withdrawn`]);
  });

  it('names a lot that gave more than it got, when the credit that opened it was cut', async () => {
    await books.owner.query('ALTER TABLE wallets DROP CONSTRAINT wallets_within_floor');
    const cut = (rows: readonly ExportRow[]) =>
      rows.map((row) => (row.kind === 'top_up' ? { ...row, amount_micros: '1' } : row));
    await rewriteBook(books, accountId, cut);
    expect(await named()).toContainEqual(transfers());
    expect(await refusedByVerifier()).toBe(true);
  });

  it('names a customer whose credit was taken out of no lot: a debt that freezes no wallet', async () => {
    await books.owner.query('ALTER TABLE wallets DROP CONSTRAINT wallets_within_floor');
    const spent = movement('debit', [CREDITED, 'usage_revenue'], '5000000', { reference: 'debit:unpaid' });
    await rewriteBook(books, accountId, append(spent));
    expect(await named()).toEqual([`wallets account_id=${accountId}`]);
  });

  it('names a row with a time that no calendar has', async () => {
    await books.owner.query('ALTER TABLE transfers DISABLE TRIGGER USER');
    await books.owner.query(
      `UPDATE transfers SET created_at = 'infinity' WHERE account_id = $1 AND kind = 'debit'`,
      [accountId],
    );
    expect(await named()).toContainEqual(transfers());
  });
});
