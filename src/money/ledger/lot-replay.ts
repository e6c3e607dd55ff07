import type { WalkStart } from './chain-walk.js';
import { isCustomerLedgerAccount, type ExportedTransfer } from './transfer.js';

/** A transfer that no lot can account for. */
export type LotFault = {
  readonly column: keyof ExportedTransfer;
  readonly expected: string;
  readonly found: string;
};

/** `remaining` is null for a lot that was opened before the first row of a part, because nothing in the part says what it held. */
type LiveLot = { readonly account: string; remaining: bigint | null };

/**
 * Plays an account's transfers again to learn what must be left in each of its lots, and what it must owe.
 * Written apart from the rules that made the rows, and from the ledger alone: a wallet, a lot and a debt that
 * agree with it are right whatever the engine believed. The doctor and the verifier of exports both play it.
 *
 * From the `first_row`, memory holds only lots with something left, which is what the engine itself loads for
 * every command. From `any_row` it holds every lot of the part: one that was opened before it is taken as given
 * (its side is learnt from the first row that names it), and one that is opened in it never gives more than it got.
 */
export class LotReplay {
  readonly live = new Map<string, LiveLot>();
  posted = 0n;
  debt = 0n;
  /** Written off and not owed again. */
  private writtenOff = 0n;

  constructor(private readonly start: WalkStart = 'first_row') {}

  next(row: ExportedTransfer): LotFault | null {
    const amount = BigInt(row.amount_micros);
    if (isCustomerLedgerAccount(row.credit_account)) {
      this.posted += amount;
      return this.open(row, amount);
    }
    if (isCustomerLedgerAccount(row.debit_account)) {
      this.posted -= amount;
      if (row.kind === 'write_off_reversal') return this.oweAgain(row, amount);
      return row.lot_id === null ? this.owe(row, amount) : this.take(row, row.lot_id, amount);
    }
    return row.lot_id === null ? null : { column: 'lot_id', expected: 'none', found: row.lot_id };
  }

  /** Credit comes in as a lot of its own. Paid credit repays debt first. */
  private open(row: ExportedTransfer, amount: bigint): LotFault | null {
    if (row.lot_id === null) {
      if (row.kind === 'write_off') return this.forgive(amount);
      return { column: 'lot_id', expected: 'the lot that this credit opened', found: 'none' };
    }
    const known = this.live.get(row.lot_id);
    if (known !== undefined) {
      if (known.remaining !== null) known.remaining += amount;
      return { column: 'lot_id', expected: 'a new lot', found: row.lot_id };
    }
    // Earlier releases gave a write-off a lot. All of it repays debt, so nothing is left in that lot.
    if (row.kind === 'write_off') {
      if (this.start === 'any_row') this.live.set(row.lot_id, { account: row.credit_account, remaining: 0n });
      return this.forgive(amount);
    }
    let remaining = amount;
    if (row.credit_account === 'customer_credit') {
      const repaid = this.debt < amount ? this.debt : amount;
      this.debt -= repaid;
      remaining -= repaid;
    }
    if (remaining > 0n || this.start === 'any_row') {
      this.live.set(row.lot_id, { account: row.credit_account, remaining });
    }
    return null;
  }

  private forgive(amount: bigint): LotFault | null {
    const owed = this.debt;
    this.writtenOff += amount;
    this.debt = amount < owed ? owed - amount : 0n;
    // Nothing in a part says what was owed before its first row.
    if (amount <= owed || this.start === 'any_row') return null;
    return { column: 'amount_micros', expected: `at most ${owed}, what was owed`, found: `${amount}` };
  }

  private take(row: ExportedTransfer, lotId: string, amount: bigint): LotFault | null {
    const lot = this.live.get(lotId);
    if (lot === undefined) {
      if (this.start === 'first_row') {
        return { column: 'lot_id', expected: 'a lot with something left', found: lotId };
      }
      this.live.set(lotId, { account: row.debit_account, remaining: null });
      return null;
    }
    const fault = lot.account === row.debit_account ? null : wrongSide(row, lot.account);
    if (lot.remaining === null) return fault;
    const had = lot.remaining;
    lot.remaining = had < amount ? 0n : had - amount;
    if (lot.remaining === 0n && this.start === 'first_row') this.live.delete(lotId);
    if (had >= amount) return fault;
    return {
      column: 'amount_micros',
      expected: `at most ${had}, what lot ${lotId} held`,
      found: `${amount}`,
    };
  }

  private oweAgain(row: ExportedTransfer, amount: bigint): LotFault | null {
    if (row.lot_id !== null) return { column: 'lot_id', expected: 'none', found: row.lot_id };
    const writtenOff = this.writtenOff;
    this.writtenOff = amount < writtenOff ? writtenOff - amount : 0n;
    const fault = this.owe(row, amount);
    // Nothing in a part says what was written off before its first row.
    if (fault !== null || amount <= writtenOff || this.start === 'any_row') return fault;
    return {
      column: 'amount_micros',
      expected: `at most ${writtenOff}, what was written off`,
      found: `${amount}`,
    };
  }

  private owe(row: ExportedTransfer, amount: bigint): LotFault | null {
    this.debt += amount;
    // Promotional credit is only ever taken out of a lot.
    if (row.debit_account === 'customer_credit') return null;
    return { column: 'lot_id', expected: 'the promotional lot that this took', found: 'none' };
  }
}

function wrongSide(row: ExportedTransfer, expected: string): LotFault {
  return { column: 'debit_account', expected, found: row.debit_account };
}
