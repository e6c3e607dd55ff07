import { momentLater } from './processes.js';

/** Numbers that look random and are the same again for the same seed. */
export type SeededRandom = {
  /** From 0 up to, but not including, 1. */
  next(): number;
  /** A whole number, both ends included. */
  between(min: number, max: number): number;
  pick<T>(choices: readonly T[]): T;
};

/**
 * The seed is printed, so that a run's choices can be repeated: `CHAOS_SEED=<seed> npm test -- <file>`. What a
 * killed process was doing at that moment cannot.
 */
export function seededRandom(name: string): SeededRandom {
  const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 2_147_483_647);
  process.stderr.write(`chaos "${name}": seed ${seed}\n`);
  const next = mulberry32(seed);
  const between = (min: number, max: number): number => min + Math.floor(next() * (max - min + 1));
  return { next, between, pick: (choices) => choices[between(0, choices.length - 1)] as never };
}

/**
 * A moment to kill something in: often at once, when the last answer has only just arrived and a promise that
 * was made too early is not yet kept; otherwise anywhere between two commits.
 */
export async function momentBetweenCommits(random: SeededRandom): Promise<void> {
  const delayMs = random.between(-15, 15);
  if (delayMs > 0) await momentLater(delayMs);
}

/** https://gist.github.com/tommyettinger/46a874533244883189143505d203312c (public domain) */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
