import { DAY_MS, formatUtcDate, parseUtcDate } from '../../platform/common/clock.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';

export const GROUPS = ['day', 'model', 'api_key', 'tag'] as const;
export type Group = (typeof GROUPS)[number];

/** The days of a leap year, so that a report over any year is possible. */
export const RANGE_DAYS_MAX = 366;
export const RANGE_DAYS_DEFAULT = 30;
export const ROWS_DEFAULT = 100;
export const ROWS_MAX = 1_000;
/** A CSV is always complete. With more rows than this it is refused instead of being cut. */
export const CSV_ROWS_MAX = 50_000;

/** The values by which one row of the answer is grouped; empty when it is not grouped by them or has no value. */
export type UsageKey = {
  readonly day: string;
  readonly source: string;
  readonly model: string;
  readonly apiKeyId: string;
  readonly tag: string;
};

export type UsageQuery = {
  /** UTC days such as `2026-11-22`. The range includes `from` and excludes `to`. */
  readonly from: string;
  readonly to: string;
  readonly groups: ReadonlySet<Group>;
  readonly filter: {
    readonly model: string | null;
    readonly apiKeyId: string | null;
    readonly tag: string | null;
  };
  readonly after: UsageKey | null;
  readonly limit: number;
};

type Asked = {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly group_by?: string | undefined;
  readonly model?: string | undefined;
  readonly api_key?: string | undefined;
  readonly tag?: string | undefined;
  readonly starting_after?: string | undefined;
  readonly limit?: number | undefined;
};

/** @throws InvalidRequestError naming the parameter. */
export function toUsageQuery(asked: Asked, nowMs: number): UsageQuery {
  const tomorrowMs = Math.floor(nowMs / DAY_MS) * DAY_MS + DAY_MS;
  const toMs = toDay('to', asked.to) ?? tomorrowMs;
  const fromMs = toDay('from', asked.from) ?? toMs - RANGE_DAYS_DEFAULT * DAY_MS;
  if (fromMs >= toMs) {
    throw new InvalidRequestError(
      'to must be later than from: it is the first day that is not counted.',
      'to',
    );
  }
  if (toMs - fromMs > RANGE_DAYS_MAX * DAY_MS) {
    throw new InvalidRequestError(`from may be at most ${RANGE_DAYS_MAX} days before to.`, 'from');
  }
  return {
    from: formatUtcDate(new Date(fromMs)),
    to: formatUtcDate(new Date(toMs)),
    groups: toGroups(asked.group_by ?? 'day'),
    filter: { model: asked.model ?? null, apiKeyId: asked.api_key ?? null, tag: asked.tag ?? null },
    after: asked.starting_after === undefined ? null : readRowId(asked.starting_after),
    limit: asked.limit ?? ROWS_DEFAULT,
  };
}

const ROW_ID_PREFIX = 'usage_';

/** Returns the id of a row, made of the values that it is grouped by, so that the next page can begin after it. */
export function toRowId({ day, source, model, apiKeyId, tag }: UsageKey): string {
  const key = JSON.stringify([day, source, model, apiKeyId, tag]);
  return `${ROW_ID_PREFIX}${Buffer.from(key).toString('base64url')}`;
}

function readRowId(id: string): UsageKey {
  const parts = id.startsWith(ROW_ID_PREFIX) ? parseList(id.slice(ROW_ID_PREFIX.length)) : [];
  const [day, source, model, apiKeyId, tag] = parts;
  if (
    [day, source, model, apiKeyId, tag].some((part) => typeof part !== 'string' || part.includes('\u0000'))
  ) {
    throw new InvalidRequestError(`'${id}' is not an id from this list.`, 'starting_after');
  }
  return { day, source, model, apiKeyId, tag } as UsageKey;
}

function parseList(text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

function toGroups(text: string): ReadonlySet<Group> {
  const words = text.split(',').map((word) => word.trim());
  const groups = GROUPS.filter((group) => words.includes(group));
  if (groups.length === words.length) return new Set(groups);
  throw new InvalidRequestError(
    `group_by must be one or more of ${GROUPS.join(', ')}, each once.`,
    'group_by',
  );
}

function toDay(param: 'from' | 'to', text: string | undefined): number | null {
  if (text === undefined) return null;
  const day = parseUtcDate(text);
  if (day === null) throw new InvalidRequestError(`${param} must be a date such as 2026-11-01 (UTC).`, param);
  return day.getTime();
}
