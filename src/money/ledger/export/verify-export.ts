import { compareBytes } from '../byte-order.js';
import { ChainWalk, isLedgerAccount } from '../chain-walk.js';
import type { LedgerAccount } from '../transfer.js';
import { LotReplay } from '../lot-replay.js';
import { ExportDigest, type ExportEnd, type ExportRow } from './export-format.js';
import { type ExportRecord, readExport } from './read-export.js';
import { endFormFault, rowFormFault } from './value-forms.js';

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
 * read (its head, its lots, and 16 to 64 bytes for each of its events, to find a reference that comes back) and
 * one total for each ledger account; nothing grows with the number of accounts.
 *
 * It cannot know what the export does not hold: that the chain's head is the one in the database is the
 * doctor's to say, or a comparison of two exports' digests.
 */
export class ExportVerifier {
  private fault: ExportFault | null = null;
  private end: ExportEnd | null = null;
  private accountId: string | null = null;
  private walk: ChainWalk | null = null;
  private lots: LotReplay | null = null;
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
    return this.fault === null;
  }

  /** The verdict, after the end of the file or the first fault. */
  finish(): Verdict {
    if (this.fault !== null) return { ok: false, fault: this.fault };
    const { end, accounts, openedMidChain, totals } = this;
    if (end === null) throw new Error('the file has not been read to its end');
    return { ok: true, summary: { end, accounts, openedMidChain, totals } };
  }

  private judge(record: ExportRecord): ExportFault | null {
    const { line } = record;
    if ('unreadable' in record) return lineFault(line, 'a record', record.unreadable);
    if ('over' in record) return this.end === null ? cutShort(line) : null;
    if (this.end !== null) return lineFault(line, 'nothing after the line that ends the export', 'more');
    if ('end' in record) return this.judgeEnd(line, record.end);
    if ('misspelt' in record) {
      const { column, expected, found } = record.misspelt;
      return rowFault(record, column, expected, found);
    }
    return this.judgeRow(record);
  }

  private judgeRow(located: Located): ExportFault | null {
    const { row } = located;
    const malformed = rowFormFault(row);
    if (malformed !== null) return rowFault(located, malformed.column, malformed.expected, malformed.found);
    const misplaced = this.enterAccount(located);
    if (misplaced !== null) return misplaced;
    const fault = (this.walk as ChainWalk).next(row, row.previous_hash) ?? (this.lots as LotReplay).next(row);
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
    this.lots = new LotReplay(located.row.seq === '1' ? 'first_row' : 'any_row');
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
    const malformed = endFormFault(end);
    if (malformed !== null) return lineFault(line, malformed.expected, malformed.found, malformed.column);
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

function cutShort(line: number): ExportFault {
  const expected = 'a last line that says the export is complete';
  return lineFault(line, expected, 'the end of the file: it was cut short');
}

function rowFault(
  { line, row }: Located,
  column: string | null,
  expected: string,
  found: string,
): ExportFault {
  return { line, row: { accountId: row.account_id, seq: row.seq, id: row.id }, column, expected, found };
}

/**
 * Reads an export to its end or its first fault and says which it is. Memory stays flat whatever its size.
 *
 * @throws NotAnExportError when the input is something else; what the input throws.
 */
export async function verifyStream(input: AsyncIterable<Buffer>): Promise<Verdict> {
  const verifier = new ExportVerifier();
  for await (const records of readExport(input)) {
    if (!records.every((record) => verifier.next(record))) break;
  }
  return verifier.finish();
}
