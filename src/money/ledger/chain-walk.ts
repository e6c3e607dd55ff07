import {
  isCustomerLedgerAccount,
  LEDGER_ACCOUNTS,
  PLATFORM_KINDS,
  POSTING_RULES,
  type TransferKind,
  chainHash,
  GENESIS_HASH,
  isPlatformBook,
  transferId,
  type ExportedTransfer,
} from './transfer.js';
import { ReferenceSet } from './reference-set.js';

/** What is wrong with one row. `column` is where it shows. */
export type RowFault = {
  readonly column: keyof ExportedTransfer | 'previous_hash';
  readonly expected: string;
  readonly found: string;
};

/** Where a walk begins: at the first row that the account ever had, or at a later one. */
export type WalkStart = 'first_row' | 'any_row';

/**
 * After a faulty row there are two stories of what it should have been: what it says and what the rows
 * before it say. The next row may continue either, so one changed row is one fault and not a cascade.
 * Newest first; the last one is what the rows before all faults say.
 */
type Continuations<T> = readonly T[];

/** Each faulty row adds a story to those of the faulty rows right before it. A chain that is wrong in every row would add them all. */
const STORIES_MAX = 16;

function withStory<T>(newest: T, earlier: Continuations<T>): Continuations<T> {
  if (earlier.length < STORIES_MAX) return [newest, ...earlier];
  return [newest, ...earlier.slice(0, STORIES_MAX - 2), ...earlier.slice(-1)];
}

/**
 * Walks the rows of one account in order and names every row that its predecessors contradict. It knows
 * nothing of files and databases: the verifier of exports and the doctor both walk with it.
 *
 * A walk from `any_row` takes the first row's seq, posted balance and previous hash as given.
 */
export class ChainWalk {
  private seqs: Continuations<number>;
  private balances: Continuations<bigint>;
  private hashes: Continuations<string>;
  private createdAt = '';
  private previous: ExportedTransfer | null = null;
  private previousWasFaulty = false;
  private readonly references = new ReferenceSet();

  constructor(
    private readonly accountId: string,
    start: WalkStart,
  ) {
    this.seqs = [];
    this.balances = [];
    this.hashes = [];
    if (start === 'first_row') this.beginAtGenesis();
  }

  /**
   * Judges the next row; null means that it follows from the rows before it.
   *
   * @param statedPreviousHash what an export says this row's predecessor hashed to; it must link up with the
   *   row before, and where that row is not at hand it is what the row's own hash is computed from.
   */
  next(row: ExportedTransfer, statedPreviousHash: string | null = null): RowFault | null {
    const seq = Number(row.seq);
    if (this.previous === null && seq === 1) this.beginAtGenesis();
    const balanceFault = this.balanceFault(row);
    const seqFault = this.seqFault(seq);
    const hashing = this.checkHash(row, statedPreviousHash, seqFault !== null);
    const fault =
      seqFault ??
      this.identityFault(row, seq) ??
      postingFault(row) ??
      balanceFault ??
      this.timeFault(row) ??
      this.eventFault(row) ??
      hashing.fault;
    this.advance(row, seq, hashing.computed, fault !== null);
    return fault;
  }

  private beginAtGenesis(): void {
    this.seqs = [1];
    this.balances = [0n];
    this.hashes = [GENESIS_HASH];
  }

  private seqFault(seq: number): RowFault | null {
    const [expected] = this.seqs;
    if (expected === undefined || this.seqs.includes(seq)) return null;
    return { column: 'seq', expected: expected.toString(), found: seq.toString() };
  }

  private identityFault(row: ExportedTransfer, seq: number): RowFault | null {
    if (row.account_id !== this.accountId) {
      return { column: 'account_id', expected: this.accountId, found: row.account_id };
    }
    const id = transferId(this.accountId, seq);
    return row.id === id ? null : { column: 'id', expected: id, found: row.id };
  }

  private balanceFault(row: ExportedTransfer): RowFault | null {
    if (this.balances.length === 0) return null;
    const effect = customerEffect(row);
    const found = BigInt(row.posted_after_micros);
    if (this.balances.some((before) => before + effect === found)) return null;
    const expected = (this.balances[0] as bigint) + effect;
    return { column: 'posted_after_micros', expected: expected.toString(), found: row.posted_after_micros };
  }

  private timeFault(row: ExportedTransfer): RowFault | null {
    if (row.created_at >= this.createdAt) return null;
    return { column: 'created_at', expected: `not before ${this.createdAt}`, found: row.created_at };
  }

  /** The rows of one event stand together, its legs counted from 0; a reference never comes back. */
  private eventFault(row: ExportedTransfer): RowFault | null {
    const { leg, reference } = row;
    if (leg === '0') {
      if (this.references.add(reference)) return null;
      return { column: 'reference', expected: 'a reference that the account has not used', found: reference };
    }
    const before = this.previous;
    if (this.previousWasFaulty) return null;
    if (before === null || before.reference !== reference || Number(before.leg) + 1 !== Number(leg)) {
      const expected = before?.reference === reference ? String(Number(before.leg) + 1) : '0';
      return { column: 'leg', expected, found: leg };
    }
    if (before.link_id === row.link_id) return null;
    return { column: 'link_id', expected: before.link_id, found: row.link_id };
  }

  private checkHash(
    row: ExportedTransfer,
    stated: string | null,
    gap: boolean,
  ): { readonly fault: RowFault | null; readonly computed: string | null } {
    // After a gap the predecessor is missing, and only a stated hash says what it was.
    const known = gap ? [] : this.hashes;
    if (stated !== null && known.length > 0 && !known.includes(stated)) {
      const fault = { column: 'previous_hash', expected: known[0] as string, found: stated } as const;
      return { fault, computed: null };
    }
    const candidates = stated === null ? known : [stated];
    const computed = candidates.map((previous) => chainHash(previous, row));
    if (computed.length === 0 || computed.includes(row.hash)) return { fault: null, computed: row.hash };
    const [expected] = computed as [string];
    return { fault: { column: 'hash', expected, found: row.hash }, computed: expected };
  }

  private advance(row: ExportedTransfer, seq: number, computedHash: string | null, faulty: boolean): void {
    const stated = BigInt(row.posted_after_micros);
    if (faulty) {
      const effect = customerEffect(row);
      this.balances = withStory(
        stated,
        this.balances.map((before) => before + effect),
      );
      this.seqs = withStory(
        seq + 1,
        this.seqs.map((expected) => expected + 1),
      );
      this.hashes = computedHash === null ? [row.hash] : [row.hash, computedHash];
      // The time of a row that is wrong in any way says nothing about the rows after it.
    } else {
      this.balances = [stated];
      this.seqs = [seq + 1];
      this.hashes = [row.hash];
      this.createdAt = row.created_at;
    }
    this.previous = row;
    this.previousWasFaulty = faulty;
  }
}

/** What a row does to the customer's posted balance, in micro-USD. */
export function customerEffect(row: ExportedTransfer): bigint {
  const amount = BigInt(row.amount_micros);
  const credited = isCustomerLedgerAccount(row.credit_account) ? amount : 0n;
  return isCustomerLedgerAccount(row.debit_account) ? credited - amount : credited;
}

function postingFault(row: ExportedTransfer): RowFault | null {
  const { kind, debit_account, credit_account, amount_micros } = row;
  if (!isTransferKind(kind)) return { column: 'kind', expected: 'a known kind of transfer', found: kind };
  const rules: readonly (readonly [string, string])[] = POSTING_RULES[kind];
  if (!rules.some(([debit, credit]) => debit === debit_account && credit === credit_account)) {
    const expected = rules.map(([debit, credit]) => `${debit} -> ${credit}`).join(' or ');
    const column = rules.some(([debit]) => debit === debit_account) ? 'credit_account' : 'debit_account';
    return { column, expected: `${kind}: ${expected}`, found: `${debit_account} -> ${credit_account}` };
  }
  if (PLATFORM_KINDS.has(kind) && !isPlatformBook(row.account_id)) {
    return { column: 'kind', expected: "a kind that a customer's book may hold", found: kind };
  }
  if (BigInt(amount_micros) > 0n) return null;
  return { column: 'amount_micros', expected: 'a positive amount', found: amount_micros };
}

function isTransferKind(kind: string): kind is TransferKind {
  return Object.hasOwn(POSTING_RULES, kind);
}

export function isLedgerAccount(name: string): name is keyof typeof LEDGER_ACCOUNTS {
  return Object.hasOwn(LEDGER_ACCOUNTS, name);
}
