import { compareBytes } from '../byte-order.js';
import { ChainWalk, isLedgerAccount } from '../chain-walk.js';
import type { LedgerAccount } from '../chart-of-accounts.js';
import { ExportDigest, type ExportEnd, type ExportRow } from './export-format.js';
import type { ExportRecord } from './read-export.js';

/** The first thing that is wrong with an export. */
export type ExportFault = {
  readonly line: number;
  /** The row at fault; null when the line is not a row. */
  readonly row: { readonly accountId: string; readonly seq: string; readonly id: string } | null;
  readonly column: string | null;
  readonly expected: string;
  readonly found: string;
};

export type LedgerTotals = { debitsMicros: bigint; creditsMicros: bigint };

/** What a good export holds. */
export type ExportSummary = {
  readonly end: ExportEnd;
  readonly accounts: number;
  /** Accounts whose rows begin after seq 1: their opening balance and previous hash are taken as given. */
  readonly openedMidChain: number;
  readonly totals: ReadonlyMap<LedgerAccount, Readonly<LedgerTotals>>;
};

export type Verdict =
  | { readonly ok: true; readonly summary: ExportSummary }
  | { readonly ok: false; readonly fault: ExportFault };

type Located = { readonly line: number; readonly row: ExportRow };

/**
 * Checks an export from itself alone, record by record, as it is read. Memory holds the account that is being
 * read (its head, and 16 to 64 bytes for each of its events, to find a reference that comes back) and one
 * total for each ledger account; nothing grows with the number of accounts.
 *
 * It cannot know what the export does not hold: that the chain's head is the one in the database is the
 * doctor's to say, or a comparison of two exports' digests.
 */
export class ExportVerifier {
  private fault: ExportFault | null = null;
  private end: ExportEnd | null = null;
  private lastLine = 0;
  private accountId: string | null = null;
  private walk: ChainWalk | null = null;
  private accounts = 0;
  private openedMidChain = 0;
  private firstMidChain: Located | null = null;
  private earliest: Located | null = null;
  private latest: Located | null = null;
  private readonly digest = new ExportDigest();
  private readonly totals = new Map<LedgerAccount, LedgerTotals>();

  /** False as soon as something is wrong: the rest need not be read. */
  next(record: ExportRecord): boolean {
    if (this.fault !== null) return false;
    this.fault = this.judge(record);
    this.lastLine = record.line;
    return this.fault === null;
  }

  /** The verdict, after the last record or the first fault. */
  finish(): Verdict {
    if (this.fault !== null) return { ok: false, fault: this.fault };
    if (this.end === null) {
      const expected = 'a last line that says the export is complete';
      const found = 'the end of the file: it was cut short';
      return { ok: false, fault: { line: this.lastLine + 1, row: null, column: null, expected, found } };
    }
    const { end, accounts, openedMidChain, totals } = this;
    return { ok: true, summary: { end, accounts, openedMidChain, totals } };
  }

  private judge(record: ExportRecord): ExportFault | null {
    const { line } = record;
    if ('unreadable' in record) return lineFault(line, 'a record', record.unreadable);
    if (this.end !== null) return lineFault(line, 'nothing after the line that ends the export', 'more');
    if ('end' in record) return this.judgeEnd(line, record.end);
    return this.judgeRow(record);
  }

  private judgeRow(located: Located): ExportFault | null {
    const { row } = located;
    const malformed = formFault(row);
    if (malformed !== null) return rowFault(located, malformed.column, malformed.expected, malformed.found);
    const misplaced = this.enterAccount(located);
    if (misplaced !== null) return misplaced;
    const fault = (this.walk as ChainWalk).next(row, row.previous_hash);
    if (fault !== null) return rowFault(located, fault.column, fault.expected, fault.found);
    this.count(located);
    return null;
  }

  /** The rows of an account stand together and accounts come in the order of their ids, so none comes twice. */
  private enterAccount(located: Located): ExportFault | null {
    const { account_id } = located.row;
    if (account_id === this.accountId) return null;
    if (this.accountId !== null && compareBytes(account_id, this.accountId) < 0) {
      const expected = `${this.accountId} or an account after it`;
      return rowFault(located, 'account_id', expected, account_id);
    }
    this.accountId = account_id;
    this.walk = new ChainWalk(account_id, 'any_row');
    this.accounts += 1;
    if (located.row.seq !== '1') {
      this.openedMidChain += 1;
      this.firstMidChain ??= located;
    }
    return null;
  }

  private count(located: Located): void {
    const { row } = located;
    this.digest.add(row.hash);
    if (this.earliest === null || row.created_at < this.earliest.row.created_at) this.earliest = located;
    if (this.latest === null || row.created_at > this.latest.row.created_at) this.latest = located;
    const amountMicros = BigInt(row.amount_micros);
    this.total(row.debit_account).debitsMicros += amountMicros;
    this.total(row.credit_account).creditsMicros += amountMicros;
  }

  private total(name: string): LedgerTotals {
    // The posting rules have been checked, so the ledger account is a known one.
    if (!isLedgerAccount(name)) throw new TypeError(`${name} is no ledger account`);
    const known = this.totals.get(name);
    if (known !== undefined) return known;
    const totals = { debitsMicros: 0n, creditsMicros: 0n };
    this.totals.set(name, totals);
    return totals;
  }

  /** What was asked for is known only now, and now the rows are held to it. */
  private judgeEnd(line: number, end: ExportEnd): ExportFault | null {
    this.end = end;
    const { from, to, account } = end;
    if (this.firstMidChain !== null && from === null) {
      return rowFault(
        this.firstMidChain,
        'seq',
        '1, for an export from the beginning',
        this.firstMidChain.row.seq,
      );
    }
    if (this.earliest !== null && from !== null && this.earliest.row.created_at < from) {
      return rowFault(this.earliest, 'created_at', `from ${from} on`, this.earliest.row.created_at);
    }
    if (this.latest !== null && to !== null && this.latest.row.created_at >= to) {
      return rowFault(this.latest, 'created_at', `before ${to}`, this.latest.row.created_at);
    }
    if (account !== null && this.accounts > 0 && (this.accounts > 1 || this.accountId !== account)) {
      return lineFault(
        line,
        `rows of ${account} alone`,
        `rows of ${this.accounts} accounts, or another's`,
        'account',
      );
    }
    const expected = this.digest.end({ from, to, account }, end.exported_at);
    if (expected.rows !== end.rows) return lineFault(line, end.rows, `${expected.rows} rows`, 'rows');
    return expected.digest === end.digest ? null : lineFault(line, expected.digest, end.digest, 'digest');
  }
}

function lineFault(line: number, expected: string, found: string, column: string | null = null): ExportFault {
  return { line, row: null, column, expected, found };
}

function rowFault({ line, row }: Located, column: string, expected: string, found: string): ExportFault {
  return { line, row: { accountId: row.account_id, seq: row.seq, id: row.id }, column, expected, found };
}

const WHOLE_NUMBER = /^[1-9][0-9]{0,14}$/;
const BIGINT = /^(0|-?[1-9][0-9]{0,18})$/;
const LEG = /^(0|[1-9][0-9]{0,4})$/;
const SHA256_HEX = /^[0-9a-f]{64}$/;
const ISO_MILLISECONDS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const FORMS = [
  ['seq', WHOLE_NUMBER, 'a whole number from 1'],
  ['amount_micros', BIGINT, 'a whole number of micro-dollars'],
  ['posted_after_micros', BIGINT, 'a whole number of micro-dollars'],
  ['leg', LEG, 'a whole number from 0'],
  ['previous_hash', SHA256_HEX, '64 hexadecimal digits'],
  ['hash', SHA256_HEX, '64 hexadecimal digits'],
  ['created_at', ISO_MILLISECONDS, 'a time like 2026-11-22T08:02:11.123Z'],
] as const;

/** One spelling for each value: two files of the same rows are the same file. */
function formFault(row: ExportRow): { column: string; expected: string; found: string } | null {
  for (const [column, form, expected] of FORMS) {
    if (!form.test(row[column])) return { column, expected, found: row[column] };
  }
  return null;
}
