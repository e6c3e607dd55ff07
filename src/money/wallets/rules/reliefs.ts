import { micros, subtract, type MicroUsd } from '../../../platform/common/money.js';
import { sourceOf, type AwayHistory } from './returned-money.js';
import type { Relief } from './wallet.js';

/** A part of a relief that is undone. A write-off is then owed again, and given credit becomes given credit again. */
export type Undone = { readonly relief: Relief; readonly amountMicros: MicroUsd };

/**
 * Undoes the reliefs that would not have been needed if the money that comes back had never been away, as far as they are not undone
 * yet. The oldest is undone first, and at most as much as comes back, so that no customer owes more than before. Once more money has come
 * back, an earlier relief may turn out to be unneeded instead of one that was undone before. For the wallet that is the same, so
 * the amounts of each kind are counted together.
 *
 * @param reliefs all reliefs of the wallet.
 * @param backMicros the credit that comes back.
 */
export function undo(
  reliefs: Iterable<Relief>,
  history: AwayHistory,
  backMicros: MicroUsd,
): readonly Undone[] {
  const unneeded = findUnneeded([...reliefs], history);
  const missing = { write_off: 0n, given_credit: 0n };
  for (const { relief, amountMicros } of unneeded) missing[relief.kind] += amountMicros - relief.undoneMicros;
  let left: bigint = backMicros;
  return unneeded.flatMap(({ relief, amountMicros }) => {
    const most = between(0n, missing[relief.kind], left);
    const part = between(0n, amountMicros - relief.undoneMicros, most);
    if (part === 0n) return [];
    left -= part;
    missing[relief.kind] -= part;
    const undoneMicros = micros(relief.undoneMicros + part);
    return [{ relief: { ...relief, undoneMicros }, amountMicros: micros(part) }];
  });
}

/**
 * Returns how much of each relief would not have been needed. It is the relief's amount minus the debt that it would have found: the
 * debt at its place in the chain, without what was away then and would not have been, and with what earlier reliefs would not have
 * paid and was not undone by then. No write-off needs more than what its own refund or dispute has taken permanently, because
 * without that there would have been no write-off.
 */
function findUnneeded(
  reliefs: readonly Relief[],
  history: AwayHistory,
): readonly { readonly relief: Relief; readonly amountMicros: bigint }[] {
  let earlier = 0n;
  let givenMicros = 0n;
  const neededBySource = new Map<string, bigint>();
  return [...reliefs]
    .sort((a, b) => a.seq - b.seq)
    .map((relief) => {
      const { seq, kind, reference, amountMicros, stillOwedMicros } = relief;
      // An earlier release gave back credit that is not refundable where no credit had been given.
      const undoneMicros =
        history.undoneAt('write_off', seq) + between(0n, history.undoneAt('given_credit', seq), givenMicros);
      const owed = amountMicros + stillOwedMicros - history.surplusAt(seq) + earlier - undoneMicros;
      let needed = between(0n, owed, amountMicros);
      if (kind === 'write_off') {
        const source = sourceOf(reference);
        const before = neededBySource.get(source) ?? 0n;
        const most = history.lastingAt(source, seq);
        if (most !== null) needed = between(0n, most - before, needed);
        neededBySource.set(source, before + needed);
      }
      if (kind === 'given_credit') givenMicros += amountMicros;
      earlier += amountMicros - needed;
      return { relief, amountMicros: amountMicros - needed };
    });
}

/** Returns `value`, but at least `least` and at most `most`; when these contradict each other, `most`. */
function between(least: bigint, value: bigint, most: bigint): bigint {
  const larger = value < least ? least : value;
  return larger > most ? most : larger;
}

/** Sums what is written off for a refund or a dispute and was not undone. */
export function sumWrittenOff(reliefs: Iterable<Relief>, source: string): MicroUsd {
  const own = [...reliefs].filter(
    ({ kind, reference }) => kind === 'write_off' && sourceOf(reference) === source,
  );
  return micros(own.reduce((sum, relief) => sum + subtract(relief.amountMicros, relief.undoneMicros), 0n));
}

export function sumAmounts(parts: readonly { readonly amountMicros: MicroUsd }[]): MicroUsd {
  return micros(parts.reduce((sum, { amountMicros }) => sum + amountMicros, 0n as bigint));
}
