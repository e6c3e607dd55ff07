import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ExportRow } from '../../src/money/ledger/export/export-format.js';
import type { ExportFault } from '../../src/money/ledger/export/verify-export.js';
import { transferId } from '../../src/money/ledger/transfer.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { TestBooks } from '../support/database/test-books.js';
import {
  EVERYTHING,
  exportText,
  forgeHashes,
  putTogether,
  takeApart,
  verdictOf,
  type ExportFile,
} from '../support/wallet/export-files.js';

const FORMATS = ['csv', 'jsonl'] as const;
const MARK = '\uFEFF';

let books: TestBooks;
let file: ExportFile;
let text: Record<(typeof FORMATS)[number], string>;

beforeAll(async () => {
  books = await TestBooks.open();
  await books.playEverything();
  file = takeApart(await exportText(books, 'jsonl'));
  text = { csv: await exportText(books, 'csv'), jsonl: await exportText(books, 'jsonl') };
});
afterAll(async () => {
  await expectBooksToBalance(books.dataSource);
  await books.close();
});

async function faultOf(bytes: string | Buffer): Promise<ExportFault> {
  const verdict = await verdictOf(bytes);
  if (verdict.ok) throw new Error('the export was accepted');
  return verdict.fault;
}

/** A whole file in which one row has other values and everything is computed again. Both formats are of the same rows. */
function forged(at: number, fields: Partial<ExportRow>, all: readonly ExportRow[] = file.rows): string {
  const rows = all.map((row, index) => (index === at ? { ...row, ...fields } : row));
  return putTogether(forgeHashes({ rows, end: file.end }), 'jsonl');
}

function rowOf(kind: string, from = 0): number {
  return file.rows.findIndex((row, index) => index >= from && row.kind === kind);
}

describe('U+FEFF that somebody typed', () => {
  let typed: TestBooks;
  const reasons = [
    `${MARK}changed my mind`,
    `changed${MARK} my mind`,
    `changed my mind${MARK}`,
    MARK,
    `${MARK}=1+1`,
  ];

  beforeAll(async () => {
    typed = await TestBooks.open();
    const accountId = await typed.account();
    await typed.topUp(accountId, 1_000_000n, { memo: reasons[0] as string });
    for (const memo of reasons) await typed.grant(accountId, 40_000n, { memo });
  });
  afterAll(async () => {
    await expectBooksToBalance(typed.dataSource);
    await typed.close();
  });

  it.each(FORMATS)('is a part of its text wherever it occurs: the %s verifies', async (format) => {
    const written = await exportText(typed, format);
    for (const pieceBytes of [1, 7, 997, 1_048_576]) {
      expect(await verdictOf(written, pieceBytes)).toMatchObject({ ok: true });
    }
  });

  it.each(FORMATS)(
    'is a byte order mark only before the first character of a %s, and only once',
    async (format) => {
      const written = await exportText(typed, format);
      expect(await verdictOf(MARK + written, 1)).toMatchObject({ ok: true });
      await expect(faultOf(MARK + MARK + written)).rejects.toThrow('not a ledger export');
      const second = written.indexOf('\n') + 1;
      expect(await faultOf(written.slice(0, second) + MARK + written.slice(second))).toMatchObject({
        line: 2,
      });
    },
  );
});

describe('a file in another spelling', () => {
  it('is refused when bytes that are no UTF-8 could be read as the replacement character', async () => {
    const genuine = Buffer.from(forged(3, { memo: 'a \uFFFD b' }));
    expect(await verdictOf(genuine)).toMatchObject({ ok: true });
    const at = genuine.indexOf('\uFFFD');
    const damaged = Buffer.concat([genuine.subarray(0, at), Buffer.from([0xff]), genuine.subarray(at + 3)]);
    expect(await faultOf(damaged)).toMatchObject({ line: 4, found: 'the line is not UTF-8' });
  });

  it.each([
    ['first, with another amount', (line: string) => line.replace('{', '{"amount_micros":"1",')],
    [
      'last, with another amount',
      (line: string) => line.replace('"amount_micros"', '"amount_micros":"1",$&'),
    ],
    ['with the same value', (line: string) => line.replace(/"memo":[^,]*/, '$&,$&')],
  ])('is refused when a member comes twice, and its row is named: %s', async (_where, twice) => {
    const lines = text.jsonl.split('\n');
    lines[5] = twice(lines[5] as string);
    const { account_id: accountId, seq } = file.rows[5] as ExportRow;
    expect(await faultOf(lines.join('\n'))).toMatchObject({ line: 6, row: { accountId, seq } });
  });

  it.each([
    ['in another order', (line: string) => line.replace(/("seq":"\d+"),("id":"\w+")/, '$2,$1')],
    ['with blanks', (line: string) => line.replace('":"', '": "')],
    ['with escapes that are not needed', (line: string) => line.replace('"acct_', '"\\u0061cct_')],
    ['with a carriage return', (line: string) => `${line}\r`],
  ])('is refused when members are spelt in another way: %s', async (_how, respell) => {
    const lines = text.jsonl.split('\n');
    lines[5] = respell(lines[5] as string);
    expect(await faultOf(lines.join('\n'))).toMatchObject({ line: 6 });
  });

  it('names the first bad row of a CSV, also when it is a quote that is wrong', async () => {
    const records = text.csv.split('\n');
    // All memos of several lines stand before it.
    const at = records.findIndex((record) => record.includes(',capture,'));
    records[at] = (records[at] as string).replace('acct_', 'acct_"');
    expect(await faultOf(records.join('\n'))).toMatchObject({ line: at + 1 });
  });

  it('is refused in a CSV when a spreadsheet took an apostrophe away, and its column is named', async () => {
    const at = text.csv.indexOf("'+1+1");
    const damaged = text.csv.slice(0, at) + text.csv.slice(at + 1);
    expect(await faultOf(damaged)).toMatchObject({ column: 'memo', expected: "'+1+1", found: '+1+1' });
  });

  it('is refused when an apostrophe hides a number that is no text', async () => {
    const negative = file.rows.find((row) => row.posted_after_micros.startsWith('-')) as ExportRow;
    const cell = `,${negative.posted_after_micros},`;
    expect(text.csv).toContain(cell);
    const damaged = text.csv.replace(cell, `,'${negative.posted_after_micros},`);
    expect(await faultOf(damaged)).toMatchObject({ column: 'posted_after_micros' });
  });

  it.each([
    '2099-13-45T99:99:99.999Z',
    '2027-02-29T08:00:00.000Z',
    '2026-11-31T08:00:00.000Z',
    '2026-12-01T24:00:00.000Z',
    '2026-12-01T08:00:60.000Z',
  ])('is refused when a row has a time that no calendar has: %s', async (created_at) => {
    const last = file.rows.length - 1;
    expect(await faultOf(forged(last, { created_at }))).toMatchObject({
      line: last + 1,
      column: 'created_at',
    });
    const end = { ...file.end, exported_at: created_at };
    expect(await faultOf(putTogether(forgeHashes({ rows: file.rows, end }), 'csv'))).toMatchObject({
      column: 'exported_at',
    });
  });
});

describe('lots, played again from an export whose hashes were all computed again', () => {
  /** Running balances that follow from the amounts. */
  function rebalanced(all: readonly ExportRow[]): ExportRow[] {
    let posted = 0n;
    return all.map((row) => {
      const amount = BigInt(row.amount_micros);
      if (row.credit_account.startsWith('customer_')) posted += amount;
      if (row.debit_account.startsWith('customer_')) posted -= amount;
      return { ...row, posted_after_micros: `${posted}` };
    });
  }

  const withFields = (at: number, fields: Partial<ExportRow>): string =>
    forged(-1, {}, rebalanced(file.rows.map((row, index) => (index === at ? { ...row, ...fields } : row))));

  it('name the row that takes more than a grant gave, when the grant was cut', async () => {
    const grant = rowOf('grant');
    const first = file.rows.findIndex(
      (row, index) => index > grant && row.lot_id === file.rows[grant]?.lot_id,
    );
    expect(await faultOf(withFields(grant, { amount_micros: '1' }))).toMatchObject({
      line: first + 1,
      row: { seq: `${first + 1}` },
      column: 'amount_micros',
      expected: `at most 1, what lot ${file.rows[grant]?.lot_id} held`,
    });
  });

  it('name the row that overdraws a lot and leaves a customer below zero without a debt', async () => {
    const capture = rowOf('capture');
    const fault = await faultOf(withFields(capture, { amount_micros: '50000000' }));
    expect(fault).toMatchObject({ line: capture + 1, column: 'amount_micros', found: '50000000' });
  });

  it('name a row that takes from a lot that nothing opened, or that opens one twice', async () => {
    const [topUp, debit] = [rowOf('top_up'), rowOf('debit')];
    const unknown = await faultOf(withFields(debit, { lot_id: 'lot_unknown' }));
    expect(unknown).toMatchObject({ line: debit + 1, column: 'lot_id', found: 'lot_unknown' });
    const grant = rowOf('grant');
    const twice = await faultOf(withFields(grant, { lot_id: file.rows[topUp]?.lot_id as string }));
    expect(twice).toMatchObject({ line: grant + 1, column: 'lot_id', expected: 'a new lot' });
  });

  it('name promotional credit that became a debt, and a fee that names a lot', async () => {
    const promo = file.rows.findIndex((row) => row.debit_account === 'customer_promo');
    expect(await faultOf(withFields(promo, { lot_id: null }))).toMatchObject({
      line: promo + 1,
      column: 'lot_id',
    });
    const fee = rowOf('top_up_fee');
    expect(await faultOf(withFields(fee, { lot_id: 'lot_x' }))).toMatchObject({
      line: fee + 1,
      column: 'lot_id',
    });
  });

  it('name a debt that is owed again beyond what was written off, and one that names a lot', async () => {
    const writeOff = file.rows[rowOf('write_off')] as ExportRow;
    const { account_id: accountId, seq, amount_micros: all, posted_after_micros: before } = writeOff;
    const rows = file.rows.filter((row) => row.account_id === accountId && Number(row.seq) <= Number(seq));
    const owedAgain = (amount: bigint, lotId: string | null): string => {
      const again: ExportRow = {
        ...writeOff,
        seq: `${Number(seq) + 1}`,
        id: transferId(accountId, Number(seq) + 1),
        kind: 'write_off_reversal',
        debit_account: 'customer_credit',
        credit_account: 'dispute_losses',
        amount_micros: `${amount}`,
        posted_after_micros: `${BigInt(before) - amount}`,
        reference: `${writeOff.reference}:owed_again`,
        lot_id: lotId,
      };
      return putTogether(forgeHashes({ rows: [...rows, again], end: file.end }), 'jsonl');
    };
    expect(await verdictOf(owedAgain(BigInt(all), null))).toMatchObject({ ok: true });
    const line = rows.length + 1;
    expect(await faultOf(owedAgain(BigInt(all) + 1n, null))).toMatchObject({
      line,
      column: 'amount_micros',
      expected: `at most ${all}, what was written off`,
    });
    expect(await faultOf(owedAgain(1n, 'lot_x'))).toMatchObject({ line, column: 'lot_id', expected: 'none' });
  });

  it('take what lots held before a part as given, and hold a lot that the part opens to its amount', async () => {
    const from = file.rows.find((row) => row.kind === 'expiry')?.created_at as string;
    const part = takeApart(await exportText(books, 'jsonl', { ...EVERYTHING, from }));
    const opened = part.rows.findIndex((row) => row.kind === 'reinstatement');
    const { lot_id } = part.rows[opened] as ExportRow;
    const last = part.rows.at(-1) as ExportRow;
    const seq = Number(last.seq) + 1;
    const take = (amount: bigint): string => {
      const more: ExportRow = {
        ...last,
        seq: `${seq}`,
        id: transferId(last.account_id, seq),
        debit_account: 'customer_credit',
        amount_micros: `${amount}`,
        posted_after_micros: `${BigInt(last.posted_after_micros) - amount}`,
        reference: 'debit:more',
        lot_id,
      };
      return putTogether(forgeHashes({ rows: [...part.rows, more], end: part.end }), 'jsonl');
    };
    expect(await verdictOf(putTogether(part, 'csv'))).toMatchObject({
      ok: true,
      summary: { openedMidChain: 1 },
    });
    const amount = BigInt((part.rows[opened] as ExportRow).amount_micros);
    expect(await faultOf(take(amount + 1n))).toMatchObject({
      line: part.rows.length + 1,
      column: 'amount_micros',
    });
  });
});
