import type { ExportedTransfer } from '../../../money/ledger/transfer.js';
import { ReturnReplay, type PaymentLinks, type ReplayedRelief } from './return-replay.js';

/** What the engine recorded of a relief, by the position of its row. */
export type StoredReliefs = ReadonlyMap<string, { readonly otherDebt: bigint; readonly undone: bigint }>;
/** Money that came back: one movement, whose legs follow each other. */
type Return = { row: ExportedTransfer; amount: bigint; given: bigint };
type Kind = ReplayedRelief['kind'];
const KINDS = ['write_off', 'given_credit'] as const;

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
 * what was written off or paid with given credit is undone as far as it would not have been needed without that money. Otherwise
 * the customer has both, the debt forgiven and the money. Nor is more undone, because then the customer pays twice.
 */
export class ReliefReplay {
  private readonly reliefs: ReplayedRelief[] = [];
  private readonly returns: ReturnReplay;
  private readonly undone: Record<Kind, bigint> = { write_off: 0n, given_credit: 0n };
  private owedAgain = 0n;
  private owedAgainBy: ExportedTransfer | null = null;
  private back: Return | null = null;
  private hasFault = false;

  /**
   * @param given lots of paid credit that goes to no card.
   * @param relieving rows, in addition to goodwill, that are recorded as having paid debt with given credit: what an earlier release gave
   *   back of a customer's own money is in lots that go to no card as well.
   * @param isExact whether all of it follows from these rules. Earlier releases had others, so more may be undone where they gave
   *   something up.
   * @param links which payment each refund and dispute is of: the ledger does not say it.
   */
  constructor(
    private readonly given: ReadonlySet<string>,
    private readonly relieving: ReadonlySet<string>,
    private readonly isExact: boolean,
    links: PaymentLinks,
  ) {
    this.returns = new ReturnReplay(links);
  }

  /** The debts are those before and after the row. */
  next(row: ExportedTransfer, debtBefore: bigint, debtAfter: bigint): ReliefFault | null {
    const { back } = this;
    const isNext = back !== null && back.row.reference !== row.reference;
    const fault = this.noted(back === null ? this.alone(row) : isNext ? this.settle(back) : null);
    const amount = BigInt(row.amount_micros);
    const isGiven = row.lot_id !== null && this.given.has(row.lot_id);
    if (this.returns.next(row, isGiven)) this.back ??= { row, amount: 0n, given: 0n };
    if (row.kind === 'reinstatement' && this.back !== null) {
      this.back.amount += amount;
      if (isGiven) this.back.given += amount;
    }
    if (row.kind === 'write_off') this.relieve(row, 'write_off', amount, debtAfter);
    if (row.kind === 'write_off_reversal') {
      this.owedAgain += amount;
      this.owedAgainBy = row;
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

  /**
   * After the end: how the engine's own account of each relief differs. What was owed in addition follows from the chain; what is undone
   * of it only where all of it followed these rules, and no row was wrong.
   */
  differences(stored: StoredReliefs): readonly StoredReliefFault[] {
    return this.reliefs.flatMap(({ seq, otherDebt, undone }): StoredReliefFault[] => {
      const found = stored.get(`${seq}`);
      // The comparison of the tables names what is not recorded at all.
      if (found === undefined) return [];
      const place = { seq: `${seq}` };
      const owed = { column: 'owed_beside_micros', expected: `${otherDebt} still owed in addition` } as const;
      const again = {
        column: 'undone_micros',
        expected: `${undone} undone of it by money that came back`,
      } as const;
      return [
        ...(found.otherDebt === otherDebt ? [] : [{ ...place, ...owed, found: `${found.otherDebt}` }]),
        ...(found.undone === undone || !this.isExact || this.hasFault
          ? []
          : [{ ...place, ...again, found: `${found.undone}` }]),
      ];
    });
  }

  private noted(fault: ReliefFault | null): ReliefFault | null {
    this.hasFault ||= fault !== null;
    return fault;
  }

  /** Debt is owed again only because money comes back, in the same event. */
  private alone(next: ExportedTransfer | null): ReliefFault | null {
    const by = this.owedAgainBy;
    const isFollowed = next?.kind === 'write_off_reversal' || next?.kind.startsWith('reinstatement') === true;
    if (by === null || isFollowed) return null;
    this.owedAgain = 0n;
    this.owedAgainBy = null;
    return { seq: by.seq, column: 'kind', expected: 'money that comes back after it', found: by.kind };
  }

  private relieve(row: ExportedTransfer, kind: Kind, amount: bigint, otherDebt: bigint): void {
    const source = row.reference.split(':', 2).join(':');
    this.reliefs.push({ seq: Number(row.seq), source, kind, amount, otherDebt, undone: 0n });
  }

  private settle({ row, amount, given }: Return): ReliefFault | null {
    const earlier = this.reliefs.filter(({ seq }) => seq < Number(row.seq));
    const unneeded = this.returns.findUnneeded(earlier);
    // No one bought what was never taken.
    const neverTaken = this.returns.lastNeverTaken;
    const wanted = { write_off: 0n, given_credit: 0n };
    earlier.forEach(({ kind }, index) => (wanted[kind] += unneeded[index] ?? 0n));
    for (const kind of KINDS) wanted[kind] -= this.undone[kind];
    const missing = this.undoOldest(earlier, unneeded, wanted, amount - neverTaken);
    const found = { write_off: this.owedAgain, given_credit: larger(0n, given - neverTaken) };
    this.owedAgain = 0n;
    this.owedAgainBy = null;
    this.back = null;
    for (const kind of KINDS) this.undone[kind] += found[kind];
    const tooLittle = KINDS.filter((kind) => found[kind] < missing[kind]);
    const tooMuch = KINDS.filter((kind) => found[kind] > missing[kind]);
    const [kind] = this.isExact ? [...tooLittle, ...tooMuch] : tooLittle;
    if (kind === undefined) return null;
    const atMost = found[kind] > missing[kind] ? 'at most ' : '';
    const expected = {
      write_off: `${atMost}${missing.write_off} owed again of what was written off while this was away`,
      given_credit: `${atMost}${missing.given_credit} of it as given credit, which paid debt while this was away`,
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

  /** Of each kind no more than is `wanted`, and in all no more than comes back, so that no customer owes more than before. */
  private undoOldest(
    reliefs: readonly ReplayedRelief[],
    unneeded: readonly bigint[],
    wanted: Readonly<Record<Kind, bigint>>,
    back: bigint,
  ): Record<Kind, bigint> {
    const done = { write_off: 0n, given_credit: 0n };
    reliefs.forEach((relief, index) => {
      const { kind, undone } = relief;
      const room = smaller(wanted[kind] - done[kind], back - done.write_off - done.given_credit);
      const part = larger(0n, smaller((unneeded[index] ?? 0n) - undone, room));
      relief.undone += part;
      done[kind] += part;
    });
    return done;
  }
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
