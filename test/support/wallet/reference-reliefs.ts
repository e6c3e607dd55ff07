/** Debt that was paid with what no one bought. */
type ReferenceRelief = {
  place: number;
  source: string;
  writtenOff: boolean;
  amount: number;
  stillOwed: number;
  undone: number;
};

/**
 * What was taken for refunds and disputes that are of no known payment, and what paid the debt that it left. Nothing is kept but what
 * happened; whenever money comes back, all of it is looked at again.
 */
export class ReferenceReliefs {
  private readonly moved: { place: number; source: string; amount: number }[] = [];
  private readonly undoings: { place: number; writtenOff: boolean; amount: number }[] = [];
  private readonly reliefs: ReferenceRelief[] = [];
  private places = 0;

  /** Below zero: it came back. */
  moves(reference: string, amount: number): void {
    this.moved.push({ place: this.places++, source: sourceOf(reference), amount });
  }

  /** `owed`: what is left of the debt. */
  add(reference: string, writtenOff: boolean, amount: number, owed: number): void {
    const relief = { place: this.places++, source: sourceOf(reference), writtenOff, amount };
    if (amount > 0) this.reliefs.push({ ...relief, stillOwed: owed, undone: 0 });
  }

  /** What is owed again, and what comes back as credit that no one bought. */
  comesBack(reference: string, amount: number): { owedAgain: number; given: number } {
    const bought = Math.min(amount, Math.max(0, this.awayFor(sourceOf(reference), Infinity)));
    this.moves(reference, -amount);
    const unneeded = this.unneeded();
    const { owedAgain, givenAgain } = this.undo(unneeded, bought);
    // What was never taken no one bought.
    const given = givenAgain + amount - bought;
    const place = this.places++;
    this.undoings.push({ place, writtenOff: true, amount: owedAgain });
    this.undoings.push({ place, writtenOff: false, amount: given });
    return { owedAgain, given };
  }

  /** Of what is away, what is not given up. */
  notGivenUp(reference: string): number {
    const source = sourceOf(reference);
    return this.reliefs
      .filter((relief) => relief.writtenOff && relief.source === source)
      .reduce((left, relief) => left - relief.amount + relief.undone, this.awayFor(source, Infinity));
  }

  private awayFor(source: string, place: number): number {
    return this.moved.reduce(
      (sum, move) => (move.source === source && move.place <= place ? sum + move.amount : sum),
      0,
    );
  }

  /** What was away at this place and has been ever since. */
  private keptFor(source: string, place: number): number {
    const later = this.moved
      .filter((move) => move.place > place)
      .map((move) => this.awayFor(source, move.place));
    return Math.max(0, Math.min(this.awayFor(source, place), ...later));
  }

  private unneeded(): number[] {
    const sources = [...new Set(this.moved.map(({ source }) => source))];
    const needed = new Map<string, number>();
    let unneeded = 0;
    let givenBefore = 0;
    return this.reliefs.map(({ place, source, writtenOff, amount, stillOwed }) => {
      const surplus = sources.reduce(
        (sum, each) => sum + this.awayFor(each, place) - this.keptFor(each, place),
        0,
      );
      const undone = (isOf: boolean): number =>
        this.undoings
          .filter((each) => each.writtenOff === isOf && each.place <= place)
          .reduce((sum, each) => sum + each.amount, 0);
      const undoneBefore = undone(true) + Math.min(undone(false), givenBefore);
      let need = Math.min(amount, Math.max(0, amount + stillOwed - surplus + unneeded - undoneBefore));
      if (writtenOff) {
        const before = needed.get(source) ?? 0;
        if (!this.isWhole(source, place))
          need = Math.min(need, Math.max(0, this.keptFor(source, place) - before));
        needed.set(source, before + need);
      } else givenBefore += amount;
      unneeded += amount - need;
      return amount - need;
    });
  }

  /** Whether nothing that was taken by then came back. */
  private isWhole(source: string, place: number): boolean {
    const taken = this.moved.filter(
      (move) => move.source === source && move.place <= place && move.amount > 0,
    );
    return this.keptFor(source, place) === taken.reduce((sum, move) => sum + move.amount, 0);
  }

  /** One micro-dollar at a time, of the oldest relief of which one may be undone. */
  private undo(unneeded: readonly number[], back: number): { owedAgain: number; givenAgain: number } {
    const missing = (writtenOff: boolean): number =>
      this.reliefs.reduce(
        (sum, relief, index) =>
          relief.writtenOff === writtenOff ? sum + (unneeded[index] ?? 0) - relief.undone : sum,
        0,
      );
    const done = { owedAgain: 0, givenAgain: 0 };
    while (done.owedAgain + done.givenAgain < back) {
      const next = this.reliefs.find(
        (relief, index) => relief.undone < (unneeded[index] ?? 0) && missing(relief.writtenOff) > 0,
      );
      if (next === undefined) break;
      next.undone += 1;
      if (next.writtenOff) done.owedAgain += 1;
      else done.givenAgain += 1;
    }
    return done;
  }
}

/** The dispute or refund that a movement is of. */
function sourceOf(reference: string): string {
  return reference.split(':').slice(0, 2).join(':');
}
