import { micros, subtract, type MicroUsd } from '../../../platform/common/money.js';
import { sourceOf, type AwayHistory } from './returned-money.js';
import type { Relief } from './wallet.js';

/** What a part of a relief that is undone means: written off, it is owed again; given, it is given credit again. */
export type Undone = { readonly relief: Relief; readonly amountMicros: MicroUsd };

/**
 * Undoes what would not have been needed without the money that came back, as far as it is not undone yet: the oldest first, at most as
 * much as comes back, so that nobody owes more after it than before. What was undone of one relief may, once more money has come
 * back, be unneeded of an earlier one instead: for the wallet that is the same, so each kind is counted in all.
 *
 * @param reliefs all of the wallet.
 * @param backMicros the credit that comes back.
 */
export function undo(
  reliefs: Iterable<Relief>,
  history: AwayHistory,
  backMicros: MicroUsd,
): readonly Undone[] {
  const unneeded = unneededOf([...reliefs], history);
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
 * What each relief would not have paid. It found the debt of its place, without what was away then and would not have been, and with
 * what earlier reliefs would not have paid and had not been undone by then. No write-off gives up more than its own refund
 * or dispute has for good: without it, there would have been none.
 */
function unneededOf(
  reliefs: readonly Relief[],
  history: AwayHistory,
): readonly { readonly relief: Relief; readonly amountMicros: bigint }[] {
  let earlier = 0n;
  let givenMicros = 0n;
  const neededOf = new Map<string, bigint>();
  return [...reliefs]
    .sort((a, b) => a.seq - b.seq)
    .map((relief) => {
      const { seq, kind, reference, amountMicros, owedBesideMicros } = relief;
      // An earlier release gave back credit that goes to no card where nothing had been given.
      const undoneMicros =
        history.undoneAt('write_off', seq) + between(0n, history.undoneAt('given_credit', seq), givenMicros);
      const owed = amountMicros + owedBesideMicros - history.surplusAt(seq) + earlier - undoneMicros;
      let needed = between(0n, owed, amountMicros);
      if (kind === 'write_off') {
        const source = sourceOf(reference);
        const before = neededOf.get(source) ?? 0n;
        const most = history.lastingAt(source, seq);
        if (most !== null) needed = between(0n, most - before, needed);
        neededOf.set(source, before + needed);
      }
      if (kind === 'given_credit') givenMicros += amountMicros;
      earlier += amountMicros - needed;
      return { relief, amountMicros: amountMicros - needed };
    });
}

/** `value`, at least `least` and at most `most`; where these contradict each other, `most`. */
function between(least: bigint, value: bigint, most: bigint): bigint {
  const larger = value < least ? least : value;
  return larger > most ? most : larger;
}

/** What of the write-offs for a refund or dispute still stands. */
export function standingFor(reliefs: Iterable<Relief>, source: string): MicroUsd {
  const own = [...reliefs].filter(
    ({ kind, reference }) => kind === 'write_off' && sourceOf(reference) === source,
  );
  return micros(own.reduce((sum, relief) => sum + leftOf(relief), 0n));
}

/** What still stands of it. */
function leftOf({ amountMicros, undoneMicros }: Relief): MicroUsd {
  return subtract(amountMicros, undoneMicros);
}

export function sumOf(parts: readonly { readonly amountMicros: MicroUsd }[]): MicroUsd {
  return micros(parts.reduce((sum, { amountMicros }) => sum + amountMicros, 0n as bigint));
}
