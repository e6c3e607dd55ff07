/** Time is an input. Services take a `Clock`; rules take a plain number of milliseconds. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
}

/** Measures how long a condition has lasted. A wall clock that is set back would keep a revoked key alive. */
export interface MonotonicClock {
  /** Milliseconds since an arbitrary moment; they never decrease. */
  monotonicMs(): number;
}

/**
 * Provides both clocks of this process. Its wall clock decides nothing: values that are stored, promised to a customer or
 * compared with a stored time are read from `LEDGER_CLOCK` (src/platform/database/ledger-clock.ts). Each application has its own
 * object, so a test that moves one clock moves no other.
 */
export const CLOCK = Symbol('CLOCK');

export const systemClock: Clock & MonotonicClock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** Returns the wire form of a time. The fraction of the second is cut off. */
export function toUnixSeconds(time: Date): number {
  return Math.trunc(time.getTime() / 1_000);
}

/** The length of a day in Unix time, which has no leap seconds. */
export const DAY_MS = 86_400_000;

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/;
const TIME = /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?(Z|[+-](0\d|1[0-4]):[0-5]\d)$/;

/**
 * Reads a date (its midnight in UTC) or an ISO 8601 time with an offset. Returns null for anything else, and for days that
 * no calendar has.
 */
export function parseUtcTime(text: string): Date | null {
  const time = TIME.exec(text);
  return isCalendarDate(time?.[1] ?? text) ? new Date(text) : null;
}

/** Reads a bare date as its midnight in UTC. */
export function parseUtcDate(text: string): Date | null {
  return isCalendarDate(text) ? new Date(text) : null;
}

/** Formats a date as `2026-11-22`. */
export function formatUtcDate(time: Date): string {
  return time.toISOString().slice(0, 10);
}

let lastTimeMs = Number.NaN;
let lastTime = '';

/** Formats a time as `2026-11-22T08:30:00.000Z`. Almost all rows of a batch have the same millisecond, so the last result is cached. */
export function formatUtcTime(timeMs: number): string {
  if (timeMs !== lastTimeMs) {
    lastTime = new Date(timeMs).toISOString();
    lastTimeMs = timeMs;
  }
  return lastTime;
}

/** JavaScript reads 30 February as 2 March, so a mistyped date would silently select other days. */
function isCalendarDate(text: string): boolean {
  const [, year, month, day] = DATE.exec(text) ?? [];
  if (year === undefined) return false;
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  return Number(year) >= 1970 && date.toISOString().startsWith(text);
}

/** The work was not done in time; it may still be running. */
export class NoAnswerInTimeError extends Error {
  constructor(ms: number) {
    super(`no answer within ${ms} ms`);
  }
}

/** Rejects with `NoAnswerInTimeError` when there is no answer within the time. The work itself continues. */
export async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  const late = afterMs(ms);
  const refused = late.over.then((): never => {
    throw new NoAnswerInTimeError(ms);
  });
  return Promise.race([work, refused]).finally(late.forget);
}

/** Returns null when the work failed, or gave no answer within the time. */
export async function answerWithin<T>(work: Promise<T>, ms: number): Promise<T | null> {
  const late = afterMs(ms);
  return Promise.race([work, late.over.then(() => null)])
    .catch(() => null)
    .finally(late.forget);
}

/** Returns whether the work resolves or rejects within the time. */
export async function isSettledWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const settled = work.then(
    () => true,
    () => true,
  );
  return (await answerWithin(settled, ms)) ?? false;
}

/** `forget` removes the timer, so that none remains when the work is done first. */
function afterMs(ms: number): { readonly over: Promise<void>; readonly forget: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return { over, forget: () => clearTimeout(timer) };
}

/**
 * Many times the duration of a look-up by key. With it, a request that meets one silent connection is answered in less than a
 * second. A server that usually needs longer than this receives every query twice.
 */
const HEDGE_AFTER_MS = 300;

/**
 * Reads again when the first reading is not answered in time: its connection may be silent (a server process that hangs, a
 * network that drops packets), and the second reading uses another connection. The first answer counts; rejects when both fail.
 *
 * It is meant for readings that many requests wait for together: look-ups that are gathered, a copy that all of them share. A
 * reading that each request does by itself fails only that request.
 *
 * @param read asks the database, and may run twice at the same time: it changes nothing, here or there, and either answer is
 *   valid, since both show everything that was committed before the first reading began. A caller that keeps an answer keeps
 *   only the one that this resolves with, because the other may arrive much later.
 */
export async function hedgedRead<T>(read: () => Promise<T>, hedgeAfterMs = HEDGE_AFTER_MS): Promise<T> {
  const first = read();
  if (await isSettledWithin(first, hedgeAfterMs)) return first;
  const second = read();
  return Promise.any([first, second]).catch(() => second);
}
