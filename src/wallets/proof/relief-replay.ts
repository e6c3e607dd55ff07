import type { ExportedTransfer } from '../../ledger/transfer.js';

/** Debt that was paid with what nobody bought, as far as the ledger alone tells it. */
type Relief = {
  seq: number;
  source: string;
  kind: 'write_off' | 'given_credit';
  left: bigint;
  beside: bigint;
};
type Taken = { seq: number; left: bigint };
/** Money that came back: one movement, whose legs follow each other. */
type Return = { row: ExportedTransfer; source: string; amount: bigint; given: bigint };

export type ReliefFault = {
  readonly seq: string;
  readonly column: keyof ExportedTransfer;
  readonly expected: string;
  readonly found: string;
};

/**
 * Plays an account's refunds, disputes and write-offs again, apart from the rules that made the rows: when money comes back,
 * what was written off or paid with given credit while it was away is undone as far as it would not have been needed. Otherwise
 * the customer has both, the debt forgiven and the money. More may be undone: earlier releases began with what was theirs.
 */
export class ReliefReplay {
  private readonly taken = new Map<string, Taken[]>();
  private readonly reliefs: Relief[] = [];
  private owedAgain = 0n;
  private back: Return | null = null;

  /** @param given lots of paid credit that nobody bought. */
  constructor(private readonly given: ReadonlySet<string>) {}

  /** The debts are those before and after the row. */
  next(row: ExportedTransfer, debtBefore: bigint, debtAfter: bigint): ReliefFault | null {
    const fault =
      this.back !== null && this.back.row.reference !== row.reference ? this.settle(this.back) : null;
    const amount = BigInt(row.amount_micros);
    const isGiven = row.lot_id !== null && this.given.has(row.lot_id);
    switch (row.kind) {
      case 'refund':
      case 'dispute':
        this.take(row, amount);
        break;
      case 'write_off':
        this.relieve(row, 'write_off', amount, debtAfter);
        break;
      case 'write_off_reversal':
        this.owedAgain += amount;
        break;
      case 'reinstatement':
        this.back ??= { row, source: sourceOf(row), amount: 0n, given: 0n };
        this.back.amount += amount;
        if (isGiven) this.back.given += amount;
        break;
    }
    const repaid = debtBefore - debtAfter;
    if (isGiven && row.credit_account === 'customer_credit' && row.kind !== 'write_off' && repaid > 0n)
      this.relieve(row, 'given_credit', repaid, debtAfter);
    return fault;
  }

  /** After the last row. */
  end(): ReliefFault | null {
    return this.back === null ? null : this.settle(this.back);
  }

  private take(row: ExportedTransfer, amount: bigint): void {
    const source = sourceOf(row);
    const taken = this.taken.get(source) ?? [];
    taken.push({ seq: Number(row.seq), left: amount });
    this.taken.set(source, taken);
  }

  private relieve(row: ExportedTransfer, kind: Relief['kind'], left: bigint, beside: bigint): void {
    this.reliefs.push({ seq: Number(row.seq), source: sourceOf(row), kind, left, beside });
  }

  private settle({ row, source, amount, given }: Return): ReliefFault | null {
    const undone = { write_off: 0n, given_credit: 0n };
    let missing = amount;
    for (const taken of this.taken.get(source) ?? []) {
      const part = smaller(taken.left, missing);
      taken.left -= part;
      missing -= part;
      this.undo(taken.seq, part, source, undone);
    }
    const found = { write_off: this.owedAgain, given_credit: given };
    this.owedAgain = 0n;
    this.back = null;
    const tooLittle = (['write_off', 'given_credit'] as const).filter((kind) => found[kind] < undone[kind]);
    for (const kind of ['write_off', 'given_credit'] as const) this.follow(kind, found[kind] - undone[kind]);
    if (tooLittle.length === 0) return null;
    const [kind] = tooLittle;
    return {
      seq: row.seq,
      column: 'amount_micros',
      ...(kind === 'write_off'
        ? { expected: `${undone.write_off} owed again of what was written off while this was away` }
        : { expected: `${undone.given_credit} of it as given credit, which paid debt while this was away` }),
      found: `${found[kind as 'write_off']}`,
    };
  }

  /** What would not have been needed if `amount` had never been taken at `seq`. */
  private undo(seq: number, amount: bigint, source: string, undone: Record<Relief['kind'], bigint>): void {
    let unused = amount;
    for (const relief of this.reliefs) {
      if (relief.seq < seq) continue;
      const isOwn = relief.kind === 'write_off' && relief.source === source;
      const covered = isOwn ? 0n : smaller(unused, relief.beside);
      relief.beside -= covered;
      const part = smaller(unused - covered, relief.left);
      relief.left -= part;
      unused -= part;
      undone[relief.kind] += part;
    }
  }

  /** Takes what was undone beyond what had to be as undone, the oldest first. */
  private follow(kind: Relief['kind'], more: bigint): void {
    for (const relief of this.reliefs) {
      if (relief.kind !== kind || more <= 0n) continue;
      const part = smaller(relief.left, more);
      relief.left -= part;
      more -= part;
    }
  }
}

/** The dispute or refund that a movement is of: `dispute:<id>`, `refund:<id>`. */
function sourceOf({ reference }: ExportedTransfer): string {
  return reference.split(':', 2).join(':');
}

const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
