import { add, larger, smaller, subtract, ZERO, type MicroUsd } from '../../common/money.js';
import type { EarlierMovement } from './command.js';
import type { Aggregate, RecordedMovement } from './wallet.js';

/** What is out of the wallet for a refund or a dispute, by the ledger. */
export type Taken = {
  /** Had been spent when it was taken, so it became debt. */
  readonly spentMicros: MicroUsd;
  /** Was found in lots. */
  readonly boughtMicros: MicroUsd;
  /** Was given up, and is not owed again. */
  readonly writtenOffMicros: MicroUsd;
};

const NOTHING_TAKEN: Taken = { spentMicros: ZERO, boughtMicros: ZERO, writtenOffMicros: ZERO };

export function takenBefore({ recorded }: Aggregate, earlier: readonly EarlierMovement[]): Taken {
  return earlier.reduce((taken, { effect, reference }) => {
    const movement = recorded.get(reference);
    return movement === undefined ? taken : after(taken, effect, movement);
  }, NOTHING_TAKEN);
}

function after(taken: Taken, effect: EarlierMovement['effect'], movement: RecordedMovement): Taken {
  const { amountMicros, lotMicros } = movement;
  const { spentMicros, boughtMicros, writtenOffMicros } = taken;
  switch (effect) {
    case 'taken': {
      const spent = add(spentMicros, subtract(amountMicros, lotMicros));
      return { ...taken, spentMicros: spent, boughtMicros: add(boughtMicros, lotMicros) };
    }
    case 'returned': {
      const spent = spentOf(amountMicros, taken);
      return {
        ...taken,
        spentMicros: larger(ZERO, subtract(spentMicros, spent)),
        boughtMicros: subtract(boughtMicros, subtract(amountMicros, spent)),
      };
    }
    case 'written_off':
      return { ...taken, writtenOffMicros: add(writtenOffMicros, amountMicros) };
    case 'owed_again':
      return { ...taken, writtenOffMicros: larger(ZERO, subtract(writtenOffMicros, amountMicros)) };
  }
}

/** Of what comes back, what had been spent: that first, so that a part repays what is owed for it. Never more is bought than was. */
export function spentOf(amountMicros: MicroUsd, { spentMicros, boughtMicros }: Taken): MicroUsd {
  return larger(smaller(amountMicros, spentMicros), subtract(amountMicros, boughtMicros));
}
