import type { ExportedTransfer } from '../../ledger/transfer.js';

/** Debt that was paid with what nobody bought, as far as the ledger alone tells it. */
type Relief = {
  seq: number;
  reference: string;
  source: string;
  kind: 'write_off' | 'given_credit';
  left: bigint;
  undone: bigint;
  beside: bigint;
};
/** What the engine wrote down of a relief, by the place of its row. */
export type StoredReliefs = ReadonlyMap<string, { readonly beside: bigint; readonly undone: bigint }>;
type Taken = { seq: number; left: bigint };
/** Credit that a dispute takes when other money of its payment comes back, for what it had taken beyond the payment. */
export type Cover = { readonly seq: number; readonly source: string; left: bigint };
/** Money that came back: one movement, whose legs follow each other. */
type Return = { row: ExportedTransfer; source: string; amount: bigint; given: bigint };

export type StoredReliefFault = {
  readonly seq: string;
  readonly column: 'owed_beside_micros' | 'undone_micros';
  readonly expected: string;
  readonly found: string;
};

export type ReliefFault = {
  readonly seq: string;
  readonly column: keyof ExportedTransfer;
  readonly expected: string;
  readonly found: string;
};

/**
 * Plays an account's refunds, disputes and write-offs again, apart from the rules that made the rows: when money comes back,
 * what was written off or paid with given credit while it was away is undone as far as it would not have been needed. Otherwise
 * the customer has both, the debt forgiven and the money. Nor is more undone, because then the customer pays twice.
 */
export class ReliefReplay {
  private readonly taken = new Map<string, Taken[]>();
  private readonly reliefs: Relief[] = [];
  /** Where each dispute first took something beyond its payment. */
  private readonly excess = new Map<string, number>();
  private owedAgain = 0n;
  private owedAgainBy: ExportedTransfer | null = null;
  private back: Return | null = null;
  private hasFault = false;

  /**
   * @param given lots of paid credit that goes to no card.
   * @param relieving rows, beside goodwill, that are written down to have paid debt with given credit: what an earlier release gave
   *   back of a customer's own money is in lots that go to no card as well.
   * @param isExact whether all of it follows from these rules. Earlier releases began with what was theirs, so more may be undone
   *   where they gave something up, and where a later dispute takes what comes back the ledger alone does not say which of it.
   * @param covers all of the chain, in its order: money that comes back is taken again by those that follow it.
   */
  constructor(
    private readonly given: ReadonlySet<string>,
    private readonly relieving: ReadonlySet<string>,
    private readonly isExact: boolean,
    private readonly covers: readonly Cover[],
  ) {}

  /** The debts are those before and after the row. */
  next(row: ExportedTransfer, debtBefore: bigint, debtAfter: bigint): ReliefFault | null {
    const { back } = this;
    const isNext = back !== null && back.row.reference !== row.reference;
    const fault = this.noted(back === null ? this.alone(row) : isNext ? this.settle(back) : null);
    const amount = BigInt(row.amount_micros);
    const isGiven = row.lot_id !== null && this.given.has(row.lot_id);
    switch (row.kind) {
      case 'refund':
      case 'dispute':
        this.take(row, amount);
        break;
      case 'dispute_excess':
        if (!this.excess.has(sourceOf(row))) this.excess.set(sourceOf(row), Number(row.seq));
        break;
      case 'write_off':
        this.relieve(row, 'write_off', amount, debtAfter);
        break;
      case 'write_off_reversal':
        this.owedAgain += amount;
        this.owedAgainBy = row;
        break;
      case 'reinstatement':
        this.back ??= { row, source: sourceOf(row), amount: 0n, given: 0n };
        this.back.amount += amount;
        if (isGiven) this.back.given += amount;
        break;
    }
    const repaid = debtBefore - debtAfter;
    if (repaid > 0n && (row.kind === 'adjustment' || (this.isExact ? isGiven : this.relieving.has(row.seq))))
      this.relieve(row, 'given_credit', repaid, debtAfter);
    return fault;
  }

  /** After the last row. */
  end(): ReliefFault | null {
    return this.noted(this.back === null ? this.alone(null) : this.settle(this.back));
  }

  /** After the end: how the engine's own account of each relief differs. Nothing can be said of it once a row was wrong. */
  differences(stored: StoredReliefs): readonly StoredReliefFault[] {
    if (!this.isExact || this.hasFault) return [];
    return this.reliefs.flatMap(({ seq, beside, undone }): StoredReliefFault[] => {
      const found = stored.get(`${seq}`);
      // What is not written down at all is named by the comparison of the tables.
      if (found === undefined) return [];
      const place = { seq: `${seq}` };
      const owed = `${beside} still owed beside it, of what was owed then and no money that came back since covers`;
      const again = `${undone} undone of it by money that came back`;
      return [
        ...(found.beside === beside
          ? []
          : [{ ...place, column: 'owed_beside_micros' as const, expected: owed, found: `${found.beside}` }]),
        ...(found.undone === undone
          ? []
          : [{ ...place, column: 'undone_micros' as const, expected: again, found: `${found.undone}` }]),
      ];
    });
  }

  private noted(fault: ReliefFault | null): ReliefFault | null {
    this.hasFault ||= fault !== null;
    return fault;
  }

  /** What is owed again is so because money comes back, in the same event. */
  private alone(next: ExportedTransfer | null): ReliefFault | null {
    const by = this.owedAgainBy;
    if (by === null || next?.kind === 'write_off_reversal' || next?.kind === 'reinstatement') return null;
    this.owedAgain = 0n;
    this.owedAgainBy = null;
    return { seq: by.seq, column: 'kind', expected: 'money that comes back behind it', found: by.kind };
  }

  private take(row: ExportedTransfer, amount: bigint): void {
    const source = sourceOf(row);
    const taken = this.taken.get(source) ?? [];
    const isCover = this.covers.some(({ seq }) => seq === Number(row.seq));
    const since = isCover ? this.excess.get(source) : undefined;
    taken.push({ seq: since ?? Number(row.seq), left: amount });
    this.taken.set(source, taken);
  }

  private relieve(row: ExportedTransfer, kind: Relief['kind'], left: bigint, beside: bigint): void {
    const { reference } = row;
    const seq = Number(row.seq);
    this.reliefs.push({ seq, reference, source: sourceOf(row), kind, left, beside, undone: 0n });
  }

  private settle({ row, source, amount, given }: Return): ReliefFault | null {
    const undone = { write_off: 0n, given_credit: 0n };
    let missing = amount;
    for (const taken of this.taken.get(source) ?? []) {
      const part = smaller(taken.left, missing);
      taken.left -= part;
      missing -= part;
      let whole = part;
      for (const cover of this.covers) {
        const again = cover.seq > Number(row.seq) ? smaller(cover.left, whole) : 0n;
        if (again === 0n) continue;
        cover.left -= again;
        whole -= again;
        this.undo([taken.seq, this.excess.get(cover.source) ?? Infinity], again, row, undone);
      }
      this.undo([taken.seq, Infinity], whole, row, undone);
    }
    // What was never taken nobody bought.
    if (this.isExact) undone.given_credit += missing;
    const found = { write_off: this.owedAgain, given_credit: given };
    this.owedAgain = 0n;
    this.owedAgainBy = null;
    this.back = null;
    const tooLittle = (['write_off', 'given_credit'] as const).filter((kind) => found[kind] < undone[kind]);
    for (const kind of ['write_off', 'given_credit'] as const)
      this.follow(kind, found[kind] - undone[kind], row);
    const tooMuch = (['write_off', 'given_credit'] as const).filter((kind) => found[kind] > undone[kind]);
    const [kind] = this.isExact ? [...tooLittle, ...tooMuch] : tooLittle;
    if (kind === undefined) return null;
    const atMost = found[kind] > undone[kind] ? 'at most ' : '';
    const expected = {
      write_off: `${atMost}${undone.write_off} owed again of what was written off while this was away`,
      given_credit: `${atMost}${undone.given_credit} of it as given credit, which paid debt while this was away`,
    };
    const rest =
      atMost !== '' && kind === 'given_credit' ? '; the rest was bought, and may go to a card' : '';
    return {
      seq: row.seq,
      column: 'amount_micros',
      expected: `${expected[kind]}${rest}`,
      found: `${found[kind]}`,
    };
  }

  /** What would not have been needed if `amount` had not been away between the two places. */
  private undo(
    [since, until]: readonly [number, number],
    amount: bigint,
    by: ExportedTransfer,
    undone: Record<Relief['kind'], bigint>,
  ): void {
    let unused = amount;
    for (const relief of this.reliefs) {
      // What comes back may pay a debt itself: that is nothing that it undoes.
      if (relief.seq < since || relief.seq > until || relief.reference === by.reference) continue;
      const isOwn = relief.kind === 'write_off' && relief.source === sourceOf(by);
      const covered = isOwn ? 0n : smaller(unused, relief.beside);
      relief.beside -= covered;
      const part = smaller(unused - covered, relief.left);
      relief.left -= part;
      relief.undone += part;
      unused -= part;
      undone[relief.kind] += part;
    }
  }

  /** Takes what was undone beyond what had to be as undone, the oldest first. */
  private follow(kind: Relief['kind'], more: bigint, by: ExportedTransfer): void {
    for (const relief of this.reliefs) {
      if (relief.kind !== kind || relief.reference === by.reference || more <= 0n) continue;
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
