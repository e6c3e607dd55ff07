import { smaller, subtract, add, ZERO, type MicroUsd } from '../../common/money.js';
import type { Taken } from './taken-before.js';
import type { Relief } from './wallet.js';

/** What a part of a relief that is undone means: written off, it is owed again; given, it is given credit again. */
export type Undone = { readonly relief: Relief; readonly amountMicros: MicroUsd };

/**
 * Undoes what would not have been needed if `back` had never been taken. Without it so much less would have been owed, so a relief
 * that was posted while it was away would have found a smaller debt: what was owed beside the relief would have been paid first, and
 * of the relief only the rest been used. One that was posted before it was taken stays as it is.
 *
 * @param reliefs all that are not undone.
 * @param reference of the movement that brings it back. A write-off for the same dispute or refund would never have been made without it.
 */
export function undo(
  reliefs: Iterable<Relief>,
  back: readonly Taken[],
  reference: string,
): readonly Undone[] {
  const states = [...reliefs].sort((a, b) => a.seq - b.seq).map((relief) => ({ before: relief, relief }));
  for (const { seq, untilSeq = Infinity, amountMicros } of back) {
    let unused = amountMicros;
    for (const state of states) {
      if (state.before.seq < seq || state.before.seq > untilSeq) continue;
      const after = without(state.relief, unused, isWrittenOffFor(state.before, reference));
      unused = subtract(unused, subtract(after.undoneMicros, state.relief.undoneMicros));
      state.relief = after;
    }
  }
  return states
    .filter(({ before, relief }) => relief !== before)
    .map(({ before, relief }) => ({
      relief,
      amountMicros: subtract(relief.undoneMicros, before.undoneMicros),
    }));
}

/** The relief as it would have been with so much less of debt. */
function without(relief: Relief, lessMicros: MicroUsd, isOwn: boolean): Relief {
  const { owedBesideMicros, undoneMicros } = relief;
  const covered = isOwn ? ZERO : smaller(lessMicros, owedBesideMicros);
  const undone = smaller(subtract(lessMicros, covered), leftOf(relief));
  if (covered === 0n && undone === 0n) return relief;
  return {
    ...relief,
    owedBesideMicros: subtract(owedBesideMicros, covered),
    undoneMicros: add(undoneMicros, undone),
  };
}

/** Whether it is a write-off for the dispute or refund that the movement under `reference` is of. */
export function isWrittenOffFor({ kind, reference: own }: Relief, reference: string): boolean {
  return kind === 'write_off' && sourceOf(own) === sourceOf(reference);
}

/** `dispute:<id>` or `refund:<id>`: what the references of all its movements begin with. */
function sourceOf(reference: string): string {
  return reference.split(':', 2).join(':');
}

/** What still stands of it. */
export function leftOf({ amountMicros, undoneMicros }: Relief): MicroUsd {
  return subtract(amountMicros, undoneMicros);
}
