import {
  cents,
  centsToMicros,
  divFloor,
  micros,
  MICROS_PER_CENT,
  type MicroUsd,
} from '../../../platform/common/money.js';
import type { Transfer } from '../../ledger/transfer.js';
import type { Lot, Relief, ReturnedMoney, ReturnedRow } from './wallet.js';
import { addParts, chargeOf, NOTHING, partsFor, partsOfTaken, type Parts } from './payment-parts.js';

/** One time that Stripe took money, or gave it back; of that, what was credit. What came back is below zero. */
type Movement = {
  readonly source: string;
  readonly seq: number;
  readonly isRefund: boolean;
  readonly grossMicros: bigint;
  readonly creditMicros: bigint;
};
/** From a place in the chain on. */
type Change = { readonly seq: number; readonly amountMicros: bigint };

export type ComingBack = Readonly<
  Record<'amountMicros' | 'feeMicros' | 'taxMicros' | 'excessMicros', MicroUsd>
> & { readonly reference: string };

/** `dispute:<id>` or `refund:<id>`: what the references of all its movements begin with. */
export function sourceOf(reference: string): string {
  return reference.split(':', 2).join(':');
}

/** With the rows that a command has posted since. */
export function withRows(
  money: ReturnedMoney,
  transfers: readonly Transfer[],
  lots: readonly Lot[],
): ReturnedMoney {
  const added = transfers
    .filter(({ reference }) => isReturned(reference))
    .map(({ seq, reference, kind, amountMicros, lotId }) => {
      const lot = kind === 'reinstatement' ? lots.find(({ id }) => id === lotId) : undefined;
      return { seq, reference, kind, amountMicros, isGiven: lot?.refundable === false };
    });
  return added.length === 0 ? money : { ...money, rows: [...money.rows, ...added] };
}

function isReturned(reference: string): boolean {
  return reference.startsWith('dispute:') || reference.startsWith('refund:');
}

/**
 * What was away from a wallet at each place of its chain, and what of that would have been away without the money that came back. What
 * comes back cancels what was taken last for the same refund or dispute. What is left would have taken its payment in the order of
 * the chain: as much as there is of it, as credit, fee and tax; what goes beyond it takes nothing from the wallet. So a dispute that had
 * taken beyond the payment has the credit from its own place on, once another one that had the credit is cancelled.
 */
export class AwayHistory {
  private readonly surplus: Change[] = [];
  private readonly lasting = new Map<string, { readonly change: Change; readonly isWhole: boolean }[]>();
  private readonly undone: Readonly<Record<Relief['kind'], readonly Change[]>>;
  private readonly movements: readonly Movement[];

  /** @param coming what comes back now: at a place behind all others. */
  constructor(
    private readonly money: ReturnedMoney,
    coming: ComingBack | null = null,
  ) {
    this.movements = movementsOf(money.rows, coming);
    this.undone = {
      write_off: money.rows.filter(({ kind }) => kind === 'write_off_reversal'),
      given_credit: money.rows.filter(({ kind, isGiven }) => kind === 'reinstatement' && isGiven),
    };
    for (const movements of groupBy(this.movements, ({ source }) => this.paymentOf(source)).values())
      this.addPayment(movements, money.payments.get(movements[0]?.source ?? '')?.paid);
  }

  /** What was away at this place and would not have been. Below zero, where what would have been is taken later. */
  surplusAt(seq: number): bigint {
    return sumUntil(this.surplus, seq);
  }

  /** What of reliefs had been undone at this place. */
  undoneAt(kind: Relief['kind'], seq: number): bigint {
    return sumUntil(this.undone[kind], seq);
  }

  /** What credit the refund or dispute had taken at this place for good; null when it took nothing that came back later. */
  lastingAt(source: string, seq: number): bigint | null {
    const until = (this.lasting.get(source) ?? []).filter(({ change }) => change.seq <= seq);
    if (until.every(({ isWhole }) => isWhole)) return null;
    return sumUntil(
      until.map(({ change }) => change),
      seq,
    );
  }

  /** The credit that the refund or dispute has now. */
  creditOf(source: string): MicroUsd {
    const own = this.movements.filter((movement) => movement.source === source);
    return micros(own.reduce((sum, { creditMicros }) => sum + creditMicros, 0n));
  }

  private paymentOf(source: string): string {
    return this.money.payments.get(source)?.id ?? source;
  }

  private addPayment(movements: readonly Movement[], known: Parts | undefined): void {
    const paid = movements.every(({ grossMicros }) => grossMicros % MICROS_PER_CENT === 0n)
      ? known
      : undefined;
    // Only what is of a known payment may be beyond it.
    const key = paid === undefined ? 'creditMicros' : 'grossMicros';
    const lasting = new Map<Movement, bigint>();
    for (const own of groupBy(movements, ({ source }) => source).values()) {
      const amounts = lastingOf(own.map((movement) => movement[key]));
      own.forEach((movement, index) => lasting.set(movement, amounts[index] ?? 0n));
    }
    let gone = NOTHING;
    for (const movement of movements) {
      const lasts = lasting.get(movement) ?? 0n;
      this.noteLasting(movement, lasts, movement[key], paid);
      const parts = paid === undefined ? null : partsOfLasting(movement, lasts, paid, gone);
      if (parts !== null) gone = addParts(gone, parts);
      const wouldTake = parts === null ? lasts : centsToMicros(parts.creditCents);
      this.surplus.push({ seq: movement.seq, amountMicros: movement.creditMicros - wouldTake });
    }
  }

  private noteLasting(
    { source, seq }: Movement,
    lasts: bigint,
    moved: bigint,
    paid: Parts | undefined,
  ): void {
    const credit =
      paid === undefined ? lasts : centsToMicros(partsOfTaken(toCents(lasts), paid, NOTHING).creditCents);
    const own = this.lasting.get(source) ?? [];
    own.push({ change: { seq, amountMicros: credit }, isWhole: moved <= 0n || lasts === moved });
    this.lasting.set(source, own);
  }
}

/** One for each reference, at the place of its first row. */
function movementsOf(rows: readonly ReturnedRow[], coming: ComingBack | null): readonly Movement[] {
  const movements = new Map<string, Movement>();
  for (const { seq, reference, kind, amountMicros } of rows) {
    if (kind === 'write_off' || kind === 'write_off_reversal') continue;
    const signed = kind.startsWith('reinstatement') ? 0n - amountMicros : amountMicros;
    const isCredit = kind === 'refund' || kind === 'dispute' || kind === 'reinstatement';
    const isRefund = reference.startsWith('refund:');
    // What a refund takes beyond its payment stays a loss, whatever of the payment comes back.
    if (isRefund && kind.endsWith('_excess')) continue;
    const first = { source: sourceOf(reference), seq, isRefund, grossMicros: 0n, creditMicros: 0n };
    const known = movements.get(reference) ?? first;
    const creditMicros = known.creditMicros + (isCredit ? signed : 0n);
    movements.set(reference, { ...known, grossMicros: known.grossMicros + signed, creditMicros });
  }
  if (coming === null) return [...movements.values()];
  const { reference, amountMicros, feeMicros, taxMicros, excessMicros } = coming;
  const isRefund = reference.startsWith('refund:');
  const place = { source: sourceOf(reference), seq: Number.MAX_SAFE_INTEGER, isRefund };
  const creditMicros = 0n - amountMicros;
  const grossMicros = creditMicros - feeMicros - taxMicros - (isRefund ? 0n : excessMicros);
  return [...movements.values(), { ...place, grossMicros, creditMicros }];
}

/** What of each is never given back: how much the least that is taken from there on has grown. */
function lastingOf(amounts: readonly bigint[]): readonly bigint[] {
  let taken = 0n;
  const totals = amounts.map((amount) => (taken += amount));
  let least = taken;
  const kept = totals.map(() => 0n);
  for (let index = totals.length - 1; index >= 0; index -= 1) {
    const total = totals[index] ?? 0n;
    if (total < least) least = total;
    kept[index] = least > 0n ? least : 0n;
  }
  return kept.map((amount, index) => amount - (kept[index - 1] ?? 0n));
}

/** A refund that is asked for goes by its credit, everything else by what was taken in all. */
function partsOfLasting(
  { isRefund, creditMicros }: Movement,
  lasts: bigint,
  paid: Parts,
  gone: Parts,
): Parts {
  const asked = isRefund && creditMicros > 0n ? partsFor(toCents(creditMicros), paid, gone) : null;
  if (asked !== null && chargeOf(asked) === toCents(lasts)) return asked;
  return partsOfTaken(toCents(lasts), paid, gone);
}

function toCents(amountMicros: bigint) {
  return cents(divFloor(amountMicros, MICROS_PER_CENT));
}

function sumUntil(changes: readonly Change[], until: number): bigint {
  return changes.reduce((sum, { seq, amountMicros }) => (seq <= until ? sum + amountMicros : sum), 0n);
}

function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const group = groups.get(keyOf(value));
    if (group) group.push(value);
    else groups.set(keyOf(value), [value]);
  }
  return groups;
}
