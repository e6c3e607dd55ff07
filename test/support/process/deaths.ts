import { undoAfterTest } from '../clean-up.js';

type AnyMethod = (...args: never[]) => Promise<unknown>;

/** A place in a call at which its process stops, as after kill -9; `wake` lets it go on, as after a long pause. */
export type Death = {
  readonly reached: Promise<void>;
  /** How many calls of the method stopped there so far. */
  readonly stops: () => number;
  readonly wake: () => void;
};
let deaths: { restore: () => void; wake: () => void }[] = [];

/** Methods are as they were, and who was stopped goes on: after each test, and before where it says so. */
export function endDeaths(): void {
  for (const { restore, wake } of deaths) {
    restore();
    wake();
  }
  deaths = [];
}

/** Stops the call at this method: before its effect, or right after it. */
export function dieAt(
  target: object,
  method: string,
  when: 'before' | 'after',
  matches: (...args: never[]) => boolean = () => true,
): Death {
  const methods = target as Record<string, AnyMethod>;
  const original = methods[method] as AnyMethod;
  let wake: () => void = () => undefined;
  let report: () => void = () => undefined;
  let stops = 0;
  const woken = new Promise<void>((resolve) => (wake = resolve));
  const reached = new Promise<void>((resolve) => (report = resolve));
  methods[method] = async function (this: object, ...args) {
    if (!matches(...args)) return original.apply(this, args);
    if (when === 'before') {
      stops += 1;
      report();
      await woken;
      return original.apply(this, args);
    }
    const result = await original.apply(this, args);
    stops += 1;
    report();
    await woken;
    return result;
  };
  const restore = () => {
    methods[method] = original;
  };
  deaths.push({ restore, wake });
  undoAfterTest(endDeaths);
  return { reached, stops: () => stops, wake };
}
