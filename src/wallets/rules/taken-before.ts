import { add, smaller, subtract, ZERO, type MicroUsd } from '../../common/money.js';
import type { EarlierMovement } from './command.js';
import type { Aggregate } from './wallet.js';

/** What was taken at one place in the account's chain and is not back. */
export type Taken = { readonly seq: number; readonly amountMicros: MicroUsd };

/** What is out of the wallet for a refund or a dispute, by the ledger, oldest first: what comes back is the oldest. */
export function takenBefore({ recorded }: Aggregate, earlier: readonly EarlierMovement[]): readonly Taken[] {
  return earlier.reduce<readonly Taken[]>((taken, { effect, reference }) => {
    const movement = recorded.get(reference);
    if (movement === undefined || effect === 'written_off') return taken;
    const { seq, amountMicros } = movement;
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

export function sumOf(parts: readonly { readonly amountMicros: MicroUsd }[]): MicroUsd {
  return parts.reduce((sum, { amountMicros }) => add(sum, amountMicros), ZERO);
}
