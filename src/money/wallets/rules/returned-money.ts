import {
  cents,
  centsToMicros,
  divFloor,
  micros,
  MICROS_PER_CENT,
  type MicroUsd,
} from '../../../platform/common/money.js';
import type { Transfer, TransferKind } from '../../ledger/transfer.js';
import type { Lot, Relief, ReturnedMoney, ReturnedRow } from './wallet.js';
import { addParts, NOTHING, partsOfTaken, type Parts } from './payment-parts.js';

/**
 * One time that Stripe took money, or gave it back: the parts of the payment, and all of it, which is more where it goes beyond the
 * payment. What came back is below zero.
 */
type Movement = {
  readonly source: string;
  readonly seq: number;
  readonly grossMicros: bigint;
  readonly creditMicros: bigint;
  readonly feeMicros: bigint;
  readonly taxMicros: bigint;
};
/** From a place in the chain on. */
type Change = { readonly seq: number; readonly amountMicros: bigint };

export type ComingBack = Readonly<
  Record<'amountMicros' | 'feeMicros' | 'taxMicros' | 'excessMicros', MicroUsd>
> & { readonly reference: string };

/** `dispute:<id>` or `refund:<id>`: what the references of all its movements begin with. */
export function toSource(reference: string): string {
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

  /** @param coming what comes back now: at a place after all others. */
  constructor(
    private readonly money: ReturnedMoney,
    coming: ComingBack | null = null,
  ) {
    this.movements = toMovements(money.rows, coming);
    this.undone = {
      write_off: money.rows.filter(({ kind }) => kind === 'write_off_reversal'),
      given_credit: money.rows.filter(({ kind, isGiven }) => kind === 'reinstatement' && isGiven),
    };
    for (const movements of groupBy(this.movements, ({ source }) => this.toPayment(source)).values())
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
  getCredit(source: string): MicroUsd {
    const own = this.movements.filter((movement) => movement.source === source);
    return micros(own.reduce((sum, { creditMicros }) => sum + creditMicros, 0n));
  }

  private toPayment(source: string): string {
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
      const amounts = findLasting(own.map((movement) => movement[key]));
      own.forEach((movement, index) => lasting.set(movement, amounts[index] ?? 0n));
    }
    for (const movement of movements)
      this.noteLasting(movement, lasting.get(movement) ?? 0n, movement[key], paid);
    const wouldTake = paid === undefined ? lasting : creditOfLasting(movements, lasting, paid);
    for (const movement of movements) {
      const amountMicros = movement.creditMicros - (wouldTake.get(movement) ?? 0n);
      this.surplus.push({ seq: movement.seq, amountMicros });
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
function toMovements(rows: readonly ReturnedRow[], coming: ComingBack | null): readonly Movement[] {
  const movements = new Map<string, Movement>();
  for (const { seq, reference, kind, amountMicros } of rows) {
    if (kind === 'write_off' || kind === 'write_off_reversal') continue;
    const signed = kind.startsWith('reinstatement') ? 0n - amountMicros : amountMicros;
    // What a refund takes beyond its payment stays a loss, whatever of the payment comes back.
    if (isRefund(reference) && kind.endsWith('_excess')) continue;
    const first = { source: toSource(reference), seq, ...NO_AMOUNTS };
    const known = movements.get(reference) ?? first;
    const part = partOfKind(kind);
    movements.set(reference, {
      ...known,
      grossMicros: known.grossMicros + signed,
      ...(part === null ? {} : { [part]: known[part] + signed }),
    });
  }
  if (coming === null) return [...movements.values()];
  const { reference, amountMicros, feeMicros, taxMicros, excessMicros } = coming;
  const parts = {
    creditMicros: 0n - amountMicros,
    feeMicros: 0n - feeMicros,
    taxMicros: 0n - taxMicros,
  };
  const grossMicros = sumParts(parts) - (isRefund(reference) ? 0n : excessMicros);
  const place = { source: toSource(reference), seq: Number.MAX_SAFE_INTEGER };
  return [...movements.values(), { ...place, ...parts, grossMicros }];
}

const NO_AMOUNTS = { grossMicros: 0n, creditMicros: 0n, feeMicros: 0n, taxMicros: 0n };

function partOfKind(kind: TransferKind): 'creditMicros' | 'feeMicros' | 'taxMicros' | null {
  if (kind === 'refund' || kind === 'dispute' || kind === 'reinstatement') return 'creditMicros';
  if (kind.endsWith('_fee')) return 'feeMicros';
  return kind.endsWith('_tax') ? 'taxMicros' : null;
}

function isRefund(reference: string): boolean {
  return reference.startsWith('refund:');
}

/** What of each is never given back: how much the least that is taken from there on has grown. */
function findLasting(amounts: readonly bigint[]): readonly bigint[] {
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

/**
 * What of each movement would have been credit, had nothing come back of what came back. What lasts whole and within the payment has
 * the parts that it was booked with, and all together have the credit that the ledger will have in the end. Another rounding would
 * leave a cent away that came back, and a cent of given credit would go to a card.
 */
function creditOfLasting(
  movements: readonly Movement[],
  lasting: ReadonlyMap<Movement, bigint>,
  paid: Parts,
): ReadonlyMap<Movement, bigint> {
  let gone = NOTHING;
  const credit = new Map<Movement, bigint>();
  const rounded: Movement[] = [];
  for (const movement of movements) {
    const lasts = lasting.get(movement) ?? 0n;
    const booked = bookedParts(movement);
    const isAsBooked =
      lasts === movement.grossMicros &&
      lasts === sumParts(movement) &&
      areWithin(addParts(gone, booked), paid);
    const parts = isAsBooked ? booked : partsOfTaken(toCents(lasts), paid, gone);
    gone = addParts(gone, parts);
    credit.set(movement, centsToMicros(parts.creditCents));
    if (!isAsBooked && lasts > 0n) rounded.push(movement);
  }
  const last = rounded.at(-1);
  const missing = creditInTheEnd(movements, paid) - gone.creditCents;
  // More than a cent each is no rounding: what a dispute takes for another one was booked before that one's money came back.
  if (last !== undefined && -rounded.length <= missing && missing <= rounded.length)
    credit.set(last, (credit.get(last) ?? 0n) + missing * MICROS_PER_CENT);
  return credit;
}

/** What the refunds and disputes of a payment have of its credit, once disputes have taken what they have beyond it and is there again. */
function creditInTheEnd(movements: readonly Movement[], paid: Parts): bigint {
  let gone = movements.map(bookedParts).reduce(addParts, NOTHING);
  for (const own of groupBy(movements, ({ source }) => source).values()) {
    const beyond = own.reduce((sum, movement) => sum + movement.grossMicros - sumParts(movement), 0n);
    if (beyond > 0n) gone = addParts(gone, partsOfTaken(toCents(beyond), paid, gone));
  }
  return gone.creditCents;
}

function sumParts({
  creditMicros,
  feeMicros,
  taxMicros,
}: Omit<Movement, 'grossMicros' | 'seq' | 'source'>): bigint {
  return creditMicros + feeMicros + taxMicros;
}

function bookedParts({ creditMicros, feeMicros, taxMicros }: Movement): Parts {
  return { creditCents: toCents(creditMicros), feeCents: toCents(feeMicros), taxCents: toCents(taxMicros) };
}

function areWithin(parts: Parts, paid: Parts): boolean {
  return (
    parts.creditCents <= paid.creditCents &&
    parts.feeCents <= paid.feeCents &&
    parts.taxCents <= paid.taxCents
  );
}

function toCents(amountMicros: bigint) {
  return cents(divFloor(amountMicros, MICROS_PER_CENT));
}

function sumUntil(changes: readonly Change[], until: number): bigint {
  return changes.reduce((sum, { seq, amountMicros }) => (seq <= until ? sum + amountMicros : sum), 0n);
}

function groupBy<T>(values: readonly T[], toKey: (value: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const group = groups.get(toKey(value));
    if (group) group.push(value);
    else groups.set(toKey(value), [value]);
  }
  return groups;
}
