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
