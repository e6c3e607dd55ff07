import { add, smaller, subtract, ZERO, type MicroUsd } from '../../common/money.js';
import type { EarlierMovement, TakenAgain } from './command.js';
import type { Aggregate } from './wallet.js';

/** What was taken at one place in the account's chain and is not back; with `untilSeq`, what something else has taken since that place. */
export type Taken = { readonly seq: number; readonly untilSeq?: number; readonly amountMicros: MicroUsd };

/** What is out of the wallet for a refund or a dispute, by the ledger, oldest first: what comes back is the oldest. */
export function takenBefore({ recorded }: Aggregate, earlier: readonly EarlierMovement[]): readonly Taken[] {
  return earlier.reduce<readonly Taken[]>((taken, { effect, reference, takenSince }) => {
    const movement = recorded.get(reference);
    if (movement === undefined) return taken;
    const { amountMicros } = movement;
    const { seq } = recorded.get(takenSince ?? reference) ?? movement;
    return effect === 'taken' ? [...taken, { seq, amountMicros }] : split(taken, amountMicros).left;
  }, []);
}

/** The oldest of it, `amountMicros` together if there is so much, and what is left. */
export function split(
  taken: readonly Taken[],
  amountMicros: MicroUsd,
): { readonly back: readonly Taken[]; readonly left: readonly Taken[] } {
  const back: Taken[] = [];
  const left: Taken[] = [];
  let missing = amountMicros;
  for (const { seq, amountMicros: all } of taken) {
    const part = smaller(all, missing);
    missing = subtract(missing, part);
    if (part > 0n) back.push({ seq, amountMicros: part });
    if (part < all) left.push({ seq, amountMicros: subtract(all, part) });
  }
  return { back, left };
}

/** The oldest of what comes back, as far as something else takes it again: it was away until that had taken it. */
export function untilTakenAgain(
  { recorded }: Aggregate,
  back: readonly Taken[],
  takenAgain: readonly TakenAgain[],
): readonly Taken[] {
  let left = back;
  const limited = takenAgain.flatMap(({ since, amountMicros }) => {
    const parts = split(left, amountMicros);
    left = parts.left;
    const untilSeq = recorded.get(since)?.seq;
    return untilSeq === undefined ? parts.back : parts.back.map((part) => ({ ...part, untilSeq }));
  });
  return [...limited, ...left];
}

export function sumOf(parts: readonly { readonly amountMicros: MicroUsd }[]): MicroUsd {
  return parts.reduce((sum, { amountMicros }) => add(sum, amountMicros), ZERO);
}
