import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ExportRow } from '../../src/ledger/export/export-format.js';
import type { ExportFault } from '../../src/ledger/export/verify-export.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { TestBooks } from '../support/database/test-books.js';
import {
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

/** A whole file, everything computed anew, in which one row has other values. Both formats are of the same rows. */
function forged(at: number, fields: Partial<ExportRow>, all: readonly ExportRow[] = file.rows): string {
  const rows = all.map((row, index) => (index === at ? { ...row, ...fields } : row));
  return putTogether(forgeHashes({ rows, end: file.end }), 'jsonl');
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

  it.each(FORMATS)('is a part of its text wherever it stands: the %s verifies', async (format) => {
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
