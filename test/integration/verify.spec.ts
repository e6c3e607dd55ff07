import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EXPORT_COLUMNS, type ExportRow } from '../../src/money/ledger/export/export-format.js';
import { NotAnExportError } from '../../src/money/ledger/export/read-export.js';
import type { ExportFault } from '../../src/money/ledger/export/verify-export.js';
import {
  changeCell,
  exportText,
  EVERYTHING,
  type ExportFile,
  forgeHashes,
  putTogether,
  takeApart,
  verdictOf,
} from '../support/wallet/export-files.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { AWKWARD_MEMOS, TestBooks } from '../support/database/test-books.js';

const FORMATS = ['csv', 'jsonl'] as const;

let books: TestBooks;
let csv: string;
let jsonl: string;
let file: ExportFile;

beforeAll(async () => {
  books = await TestBooks.open();
  await books.playEverything();
  await books.playEverything();
  await books.account('Never used');
  csv = await exportText(books, 'csv');
  jsonl = await exportText(books, 'jsonl');
  file = takeApart(jsonl);
});
afterAll(async () => {
  await expectBooksToBalance(books.dataSource);
  await books.close();
});

async function faultOf(text: string): Promise<ExportFault> {
  const verdict = await verdictOf(text);
  if (verdict.ok) throw new Error('the export was accepted');
  return verdict.fault;
}

/** A file whose rows were changed, with nothing forged, or with every hash and the digest forged to fit. */
function changed(change: (rows: ExportRow[]) => void, forge = false): string {
  const copy: ExportFile = { rows: file.rows.map((row) => ({ ...row })), end: { ...file.end } };
  change(copy.rows);
  return putTogether(forge ? forgeHashes(copy) : copy, 'jsonl');
}

function set(index: number, fields: Partial<ExportRow>) {
  return (rows: ExportRow[]): void => void (rows[index] = { ...(rows[index] as ExportRow), ...fields });
}

describe('an export that the service wrote', () => {
  it.each(FORMATS)('proves itself as %s, with every total', async (format) => {
    const verdict = await verdictOf(format === 'csv' ? csv : jsonl, 97);
    expect(verdict).toMatchObject({ ok: true, summary: { accounts: 2, openedMidChain: 0, end: EVERYTHING } });
    const totals = verdict.ok ? verdict.summary.totals : new Map();
    const stored = await books.owner.query<{ account: string; debits: string; credits: string }>(`
      SELECT account, sum(debit) AS debits, sum(credit) AS credits
        FROM (SELECT debit_account AS account, amount_micros AS debit, 0 AS credit FROM transfers
              UNION ALL SELECT credit_account, 0, amount_micros FROM transfers) legs GROUP BY account`);
    expect(
      new Map(stored.rows.map((row) => [row.account, [BigInt(row.debits), BigInt(row.credits)]])),
    ).toEqual(
      new Map([...totals].map(([account, total]) => [account, [total.debitsMicros, total.creditsMicros]])),
    );
  });

  it('carries every memo exactly: separators, quotes, line ends, emoji, formulas', async () => {
    const memos = file.rows.filter((row) => row.kind === 'debit').map((row) => row.memo);
    expect(memos.slice(0, AWKWARD_MEMOS.length)).toEqual([...AWKWARD_MEMOS]);
    // The verdict recomputes each hash from the memo that it read: a memo changed on the way would not pass.
    expect(await verdictOf(csv)).toMatchObject({ ok: true });
    expect(csv).not.toMatch(/(^|[;,\t\r\n])["\s]*[=+@＝](?!\d{4})/mu);
  });

  it('still proves itself when a spreadsheet has added a byte order mark and changed the line ends', async () => {
    const oneLineMemos = changed(
      (rows) => rows.forEach((_row, index) => set(index, { memo: 'x' })(rows)),
      true,
    );
    const text = putTogether(takeApart(oneLineMemos), 'csv');
    expect(await verdictOf(`\uFEFF${text.replaceAll('\n', '\r\n')}`)).toMatchObject({ ok: true });
  });

  it('is the same in both formats', () => {
    expect(putTogether(file, 'csv')).toBe(csv);
    expect(putTogether(file, 'jsonl')).toBe(jsonl);
  });

  it('proves itself when there is nothing in it', async () => {
    for (const format of FORMATS) {
      const text = await exportText(books, format, { ...EVERYTHING, to: '2020-01-01T00:00:00.000Z' });
      expect(await verdictOf(text)).toMatchObject({ ok: true, summary: { accounts: 0 } });
    }
  });
});

describe('a changed cell', () => {
  /** Something that the column could hold but does not. */
  const other = (column: string, was: string | null): string => {
    if (column === 'created_at') return (was as string).replace(/\d\dZ$/, '99Z');
    if (/hash$/.test(column)) return (was as string).replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
    return /^-?\d+$/.test(was ?? '') ? String(BigInt(was as string) + 1n) : `${was ?? ''}x`;
  };

  it.each(FORMATS.flatMap((format) => EXPORT_COLUMNS.map((column) => [column, format] as const)))(
    'is found in column %s of a %s, and its row is named',
    async (column, format) => {
      // Rows of both accounts, at a chain's beginning, in its middle and at its end.
      for (const index of [0, 9, file.rows.length - 1]) {
        const row = file.rows[index] as ExportRow;
        const value = other(column, row[column]);
        const fault = await faultOf(changeCell(format === 'csv' ? csv : jsonl, format, index, column, value));
        const named = column === 'account_id' || column === 'seq' ? { ...row, [column]: value } : row;
        expect(fault.row).toMatchObject({ accountId: named.account_id, seq: named.seq });
        expect(fault.line).toBe(lineOf(format, index));
      }
    },
  );

  /** Counted in the text itself: a memo may have several lines. */
  function lineOf(format: string, index: number): number {
    if (format === 'jsonl') return index + 1;
    const before = csv.slice(0, csv.indexOf(`${(file.rows[index] as ExportRow).id},`));
    return before.split('\n').length;
  }

  it('is found in every part of the last line', async () => {
    const { end } = file;
    const wrong = {
      rows: '1',
      from: end.exported_at,
      to: end.exported_at,
      account: 'acct_x',
      digest: '0'.repeat(64),
    };
    for (const [member, value] of Object.entries({ ...wrong, exported_at: '2026-01-01T00:00:00.000Z' })) {
      for (const format of FORMATS) {
        const text = putTogether({ rows: file.rows, end: { ...end, [member]: value } }, format);
        expect(await verdictOf(text)).toMatchObject({ ok: false });
      }
    }
  });
});

describe('a forged file, every hash computed again', () => {
  const at = 5;
  const row = (index = at): ExportRow => file.rows[index] as ExportRow;
  const cases: Record<string, () => [Partial<ExportRow>, column: string]> = {
    'an amount that its balance contradicts': () => [{ amount_micros: '1' }, 'posted_after_micros'],
    'a balance that its amount contradicts': () => [{ posted_after_micros: '1' }, 'posted_after_micros'],
    'a posting that no rule allows': () => [{ credit_account: 'bank' }, 'credit_account'],
    'an unknown kind': () => [{ kind: 'gift' }, 'kind'],
    'a kind named like a method of objects': () => [{ kind: 'constructor' }, 'kind'],
    "the platform's own kind in a customer's book": () => [
      { kind: 'payout', debit_account: 'bank', credit_account: 'stripe_clearing' },
      'kind',
    ],
    'an amount of nothing': () => [
      { amount_micros: '0', posted_after_micros: row(at - 1).posted_after_micros },
      'amount_micros',
    ],
    'an amount below nothing': () => [{ amount_micros: '-40000' }, 'amount_micros'],
    'an amount in another spelling': () => [{ amount_micros: '040000' }, 'amount_micros'],
    'a time before the row before it': () => [{ created_at: '2026-01-01T00:00:00.000Z' }, 'created_at'],
    'a time in another spelling': () => [{ created_at: '2026-11-01T09:30:00Z' }, 'created_at'],
    'a reference that was used before': () => [{ reference: row(0).reference }, 'reference'],
    'a leg out of order': () => [{ leg: '1' }, 'leg'],
    "an id that is another row's": () => [{ id: row(at + 1).id }, 'id'],
    'a seq that skips': () => [{ seq: '60' }, 'seq'],
  };

  it.each(Object.keys(cases))('is caught by %s', async (name) => {
    const [fields, column] = (cases[name] as (typeof cases)[string])();
    expect(await faultOf(changed(set(at, fields), true))).toMatchObject({ line: at + 1, column });
  });

  it('is caught by a second leg that belongs to another event', async () => {
    const leg = file.rows.findIndex((candidate) => candidate.leg === '1');
    const fault = await faultOf(changed(set(leg, { link_id: 'lnk_other' }), true));
    expect(fault).toMatchObject({ line: leg + 1, column: 'link_id' });
  });

  it('is caught at the next row when only one row was forged', async () => {
    const forged = forgeHashes({ rows: [{ ...row(), memo: 'forged' }], end: file.end }).rows[0] as ExportRow;
    expect(await faultOf(changed(set(at, forged)))).toMatchObject({ line: at + 2, column: 'previous_hash' });
  });
});

describe('rows that were moved', () => {
  it('names the row after one that was taken out of the middle', async () => {
    expect(await faultOf(changed((rows) => rows.splice(7, 1)))).toMatchObject({ line: 8, column: 'seq' });
    expect(await faultOf(changed((rows) => rows.splice(0, 2)))).toMatchObject({ line: 1 });
  });

  it('notices that the last rows are gone, although no later row could', async () => {
    for (const count of [1, 3]) {
      const fault = await faultOf(changed((rows) => rows.splice(-count)));
      expect(fault).toMatchObject({ line: file.rows.length - count + 1, column: 'rows', row: null });
    }
  });

  it('notices that a whole account is gone', async () => {
    const first = file.rows[0]?.account_id;
    const text = changed((rows) => rows.splice(0, rows.filter((row) => row.account_id === first).length));
    expect(await faultOf(text)).toMatchObject({ column: 'rows' });
  });

  it('names a row that comes twice, and two rows that changed places', async () => {
    expect(await faultOf(changed((rows) => rows.splice(4, 0, rows[3] as ExportRow)))).toMatchObject({
      line: 5,
      column: 'seq',
    });
    const swapped = changed((rows) => rows.splice(4, 2, rows[5] as ExportRow, rows[4] as ExportRow));
    expect(await faultOf(swapped)).toMatchObject({ line: 5, column: 'seq' });
  });

  it('names the first row of an account that comes again, or out of order', async () => {
    const second = file.rows.findIndex((row) => row.account_id !== file.rows[0]?.account_id);
    const text = changed((rows) => rows.push(...rows.splice(0, second)));
    expect(await faultOf(text)).toMatchObject({ line: file.rows.length - second + 1, column: 'account_id' });
  });

  it('refuses anything after the last line, even a second whole export', async () => {
    expect(await faultOf(`${jsonl}${jsonl}`)).toMatchObject({ line: file.rows.length + 2 });
    expect(await faultOf(`${csv}${csv.split('\n')[1]}\n`)).toMatchObject({ row: null });
  });
});

describe('a file that was cut short', () => {
  it.each(FORMATS)('is never taken for a whole %s, wherever it was cut', async (format) => {
    const bytes = Buffer.from(format === 'csv' ? csv : jsonl);
    const last = bytes.length - 2;
    const spread = Array.from({ length: 60 }, (_each, index) => Math.trunc((last * index) / 59));
    const aroundLineEnds = [...bytes.entries()]
      .filter(([, byte]) => byte === 0x0a)
      .flatMap(([at]) => [at, at + 1, at + 2])
      .filter((length) => length <= last);
    for (const length of new Set([...spread, ...aroundLineEnds])) {
      const verdict = await verdictOf(bytes.subarray(0, length).toString()).catch((error: unknown) => error);
      const isRefused = verdict instanceof NotAnExportError || !(verdict as { ok: boolean }).ok;
      expect({ length, isRefused }).toEqual({ length, isRefused: true });
    }
  });

  it('says that the end is missing', async () => {
    const whole = jsonl.trimEnd().split('\n').slice(0, -1).join('\n');
    expect(await faultOf(`${whole}\n`)).toMatchObject({
      line: file.rows.length + 1,
      found: expect.stringContaining('cut short'),
    });
  });
});

describe('a part of the ledger', () => {
  /** The instant of some row in the middle of both chains' time. */
  const middle = (): string => file.rows.find((row) => row.kind === 'expiry')?.created_at as string;

  it('proves itself from the middle of a chain, and says what it takes as given', async () => {
    for (const format of FORMATS) {
      const text = await exportText(books, format, { ...EVERYTHING, from: middle() });
      expect(await verdictOf(text)).toMatchObject({ ok: true, summary: { openedMidChain: 1 } });
    }
  });

  it('joins its parts without overlap or gap: from is included, to is not', async () => {
    const before = takeApart(await exportText(books, 'jsonl', { ...EVERYTHING, to: middle() }));
    const after = takeApart(await exportText(books, 'jsonl', { ...EVERYTHING, from: middle() }));
    const ids = [...before.rows, ...after.rows].map((row) => row.id);
    expect(ids.sort()).toEqual(file.rows.map((row) => row.id).sort());
    expect(after.rows.some((row) => row.created_at === middle())).toBe(true);
  });

  it('proves itself for one account', async () => {
    const account = file.rows[0]?.account_id as string;
    const text = await exportText(books, 'csv', { ...EVERYTHING, account });
    expect(await verdictOf(text)).toMatchObject({ ok: true, summary: { accounts: 1, end: { account } } });
  });

  it('cannot pass for the whole, for another range, or for another account', async () => {
    const part = takeApart(await exportText(books, 'jsonl', { ...EVERYTHING, from: middle() }));
    const claim = (claimed: Partial<ExportFile['end']>) =>
      faultOf(putTogether(forgeHashes({ rows: part.rows, end: { ...part.end, ...claimed } }), 'jsonl'));
    expect(await claim({ from: null })).toMatchObject({ line: 1, column: 'seq' });
    expect(await claim({ from: file.end.exported_at })).toMatchObject({ column: 'created_at' });
    expect(await claim({ to: middle() })).toMatchObject({ column: 'created_at' });
    expect(await claim({ account: 'acct_other' })).toMatchObject({ column: 'account' });
  });
});

describe('something that is no export', () => {
  it.each([
    ['a web page', '<!doctype html><html></html>'],
    ['an answered error', '{"error":{"message":"No","type":"x","param":null,"code":"y"}}'],
    ["somebody else's CSV", 'date,amount\n2026-11-01,5\n'],
  ])('is not judged at all: %s', async (_what, text) => {
    await expect(verdictOf(text)).rejects.toThrow(NotAnExportError);
  });

  it('is not verified when it is empty', async () => {
    expect(await verdictOf('')).toMatchObject({ ok: false });
  });

  it('names the line of a record that has other members, or is far too long', async () => {
    const lines = jsonl.split('\n');
    lines[2] = JSON.stringify({ ...file.rows[2], further: 'x' });
    expect(await faultOf(lines.join('\n'))).toMatchObject({ line: 3, row: null });
    expect(await faultOf(`${lines[0]}\n${'x'.repeat(200_000)}`)).toMatchObject({ line: 2 });
    expect(await faultOf(`${csv.split('\n')[0]}\n"${'x'.repeat(200_000)}`)).toMatchObject({ line: 2 });
  });
});
