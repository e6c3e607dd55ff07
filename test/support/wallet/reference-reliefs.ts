import type { EarlierMovement } from '../../../src/wallets/rules/command.js';

/** Debt that was paid with what nobody bought. */
type ReferenceRelief = {
  place: number;
  reference: string;
  writtenOff: boolean;
  left: number;
  beside: number;
};

/** What was taken for refunds and disputes, and what paid the debt that it left, one micro-dollar at a time. */
export class ReferenceReliefs {
  private readonly moved = new Map<string, { place: number; amount: number }>();
  private readonly reliefs: ReferenceRelief[] = [];
  private places = 0;

  moves(reference: string, amount: number): void {
    this.moved.set(reference, { place: this.places++, amount });
  }

  /** `owed`: what is left of the debt. */
  add(reference: string, writtenOff: boolean, amount: number, owed: number): void {
    if (amount > 0)
      this.reliefs.push({ place: this.places++, reference, writtenOff, left: amount, beside: owed });
  }

  /** What is owed again, and what comes back as credit that nobody bought. */
  comesBack(
    reference: string,
    earlier: readonly EarlierMovement[],
    takenAgain: readonly { since: string; amount: number }[],
    amount: number,
  ): { owedAgain: number; given: number } {
    const back = this.awayBefore(earlier).slice(0, amount);
    const until = takenAgain.flatMap(({ since, amount: part }) =>
      Array.from({ length: part }, () => this.moved.get(since)?.place ?? Infinity),
    );
    const undone = back.map((place, index) => this.undoOne(place, until[index] ?? Infinity, reference));
    const owedAgain = undone.filter((relief) => relief?.writtenOff === true).length;
    const given = undone.filter((relief) => relief?.writtenOff === false).length;
    // What was never taken nobody bought.
    return { owedAgain, given: given + amount - back.length };
  }

  /** Of what is away, what is not given up. */
  notGivenUp(reference: string, earlier: readonly EarlierMovement[]): number {
    return this.reliefs
      .filter((relief) => isForTheSame(relief, reference))
      .reduce((left, relief) => left - relief.left, this.awayBefore(earlier).length);
  }

  /** When each micro-dollar was taken that is not back, the first first. */
  private awayBefore(earlier: readonly EarlierMovement[]): number[] {
    let away: number[] = [];
    for (const { effect, reference, takenSince = reference } of earlier) {
      const { place, amount } = this.moved.get(reference) ?? { place: 0, amount: 0 };
      if (effect === 'taken')
        away = [...away, ...Array.from({ length: amount }, () => this.moved.get(takenSince)?.place ?? place)];
      if (effect === 'returned') away = away.slice(amount);
    }
    return away;
  }

  /**
   * What one micro-dollar would have changed if it had not been taken: of each relief that came after, it would have paid what was
   * owed beside it, and once that is paid, the relief would have been smaller by it.
   */
  private undoOne(place: number, until: number, reference: string): ReferenceRelief | undefined {
    for (const relief of this.reliefs) {
      if (relief.place < place || relief.place > until) continue;
      if (relief.beside > 0 && !isForTheSame(relief, reference)) {
        relief.beside -= 1;
      } else if (relief.left > 0) {
        relief.left -= 1;
        return relief;
      }
    }
    return undefined;
  }
}

/** Whether it was written off for the dispute whose movement this is. */
function isForTheSame({ reference: own, writtenOff }: ReferenceRelief, reference: string): boolean {
  const [kind, id] = reference.split(':');
  return writtenOff && own.startsWith(`${kind}:${id}:`);
}
