import { encodeTime } from 'ulid';
import { ID_PREFIXES } from '../../../../platform/common/ids.js';
import { DAY_MS, parseUtcTime } from '../../../../platform/common/clock.js';
import { InvalidRequestError } from '../../../../platform/errors/common.errors.js';

/** The filters of a list of generations. The time range includes `from` and excludes `to`. */
export type GenerationFilter = {
  readonly model: string | null;
  readonly apiKeyId: string | null;
  /** The tag, or the `user` of calls without one. */
  readonly tag: string | null;
  readonly status: string | null;
  readonly fromMs: number | null;
  readonly toMs: number | null;
};

type Asked = {
  readonly model?: string | undefined;
  readonly api_key?: string | undefined;
  readonly tag?: string | undefined;
  readonly status?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
};

/** Only time has an index, so a search for some of an account's calls reads all calls in this time. */
export const SEARCHED_DAYS_MAX = 31;
/** An id is made some milliseconds before its call's time is taken. */
const ID_SLACK_MS = 60_000;

/**
 * Without `from`, a search goes back `SEARCHED_DAYS_MAX` days.
 *
 * @throws InvalidRequestError naming the parameter when `to` is not later than `from`, a time is invalid, or a search covers too
 * many days.
 */
export function toGenerationFilter(asked: Asked, nowMs: number): GenerationFilter {
  const { model = null, api_key: apiKeyId = null, tag = null, status = null } = asked;
  const searches = [model, apiKeyId, tag, status].some((value) => value !== null);
  const toMs = toTime('to', asked.to);
  const asFarBack = (toMs ?? nowMs) - SEARCHED_DAYS_MAX * DAY_MS;
  const fromMs = toTime('from', asked.from) ?? (searches ? asFarBack : null);
  if (fromMs !== null && toMs !== null && fromMs >= toMs) {
    throw new InvalidRequestError(
      'to must be later than from: it is the first moment that is not listed.',
      'to',
    );
  }
  if (searches && fromMs !== null && fromMs < asFarBack) {
    throw new InvalidRequestError(
      `With model, api_key, tag or status, from may be at most ${SEARCHED_DAYS_MAX} days before to.`,
      'from',
    );
  }
  return { model, apiKeyId, tag, status, fromMs, toMs };
}

/** Returns the bounds of the ids in this time range, so that the primary key can be used; null means no bound. */
export function idBounds({ fromMs, toMs }: GenerationFilter): {
  readonly from: string | null;
  readonly to: string | null;
} {
  return {
    from: fromMs === null ? null : generationIdAt(fromMs - ID_SLACK_MS),
    to: toMs === null ? null : generationIdAt(toMs + ID_SLACK_MS),
  };
}

/** Returns an id that is smaller than every id made at this time or later. */
export function generationIdAt(ms: number): string {
  return `${ID_PREFIXES.generation}_${encodeTime(Math.min(Math.max(ms, 0), ID_TIME_MAX_MS), 10)}`;
}

/** The largest time that a ULID can carry: 48 bits of milliseconds. */
const ID_TIME_MAX_MS = 281_474_976_710_655;

function toTime(param: 'from' | 'to', text: string | undefined): number | null {
  if (text === undefined) return null;
  const time = parseUtcTime(text);
  if (time !== null) return time.getTime();
  throw new InvalidRequestError(
    `${param} must be a date (2026-11-01) or a time (2026-11-01T00:00:00Z; write the + of an offset as %2B).`,
    param,
  );
}
