import { type LimitUnit, WINDOW_SECONDS } from './rate-limit-policies.js';

/** What one request needs of one limit of one subject. */
export type Meter = {
  /** The limit's name on the wire. */
  readonly limit: string;
  readonly unit: LimitUnit;
  readonly per: 'key' | 'account';
  /** Where it is counted; no other limit or subject has the same key. */
  readonly key: string;
  readonly max: number;
  /** The number of requests or images, or 1 for a slot; 0 only asks how much is left. */
  readonly cost: number;
};

/** How much of one limit is used up. */
export type Usage = {
  /** The limit's name on the wire. */
  readonly limit: string;
  readonly unit: LimitUnit;
  /** How many requests or images a window allows, or how many calls may run at the same time. */
  readonly max: number;
  readonly remaining: number;
  /** Until the count starts again; null for running calls, whose end is unknown. */
  readonly resetMs: number | null;
  /** Whether the request was refused because of this limit. */
  readonly exceeded: boolean;
};

/**
 * Returns both families of headers: OpenAI's (`x-ratelimit-*`, which its clients read) for the closest limits of requests
 * and of images, and the IETF draft's (`RateLimit`, `RateLimit-Policy`,
 * draft-ietf-httpapi-ratelimit-headers-11) for all limits.
 */
export function usageHeaders(usages: readonly Usage[]): Record<string, string> {
  return {
    'ratelimit-policy': usages.map(policyItem).join(', '),
    ratelimit: usages.map(usageItem).join(', '),
    ...familyHeaders('requests', usages),
    ...familyHeaders('images', usages),
  };
}

/** `requests` is the unit of a policy that names none. */
function policyItem({ limit, unit, max }: Usage): string {
  if (unit === 'concurrent-requests') return `"${limit}";q=${max};qu="${unit}"`;
  return `"${limit}";q=${max};w=${WINDOW_SECONDS}${unit === 'requests' ? '' : `;qu="${unit}"`}`;
}

function usageItem({ limit, remaining, resetMs }: Usage): string {
  return `"${limit}";r=${remaining}${resetMs === null ? '' : `;t=${Math.ceil(resetMs / SECOND_MS)}`}`;
}

function familyHeaders(unit: LimitUnit, usages: readonly Usage[]): Record<string, string> {
  const closest = findClosest(usages.filter((usage) => usage.unit === unit));
  if (closest === undefined) return {};
  return {
    [`x-ratelimit-limit-${unit}`]: String(closest.max),
    [`x-ratelimit-remaining-${unit}`]: String(closest.remaining),
    [`x-ratelimit-reset-${unit}`]: formatDuration(closest.resetMs ?? 0),
  };
}

/** If two limits are equally close, it returns the one that lasts longer. */
function findClosest(usages: readonly Usage[]): Usage | undefined {
  const [first, ...others] = usages;
  if (first === undefined) return undefined;
  return others.reduce(
    (closest, usage) =>
      usage.remaining < closest.remaining ||
      (usage.remaining === closest.remaining && (usage.resetMs ?? 0) > (closest.resetMs ?? 0))
        ? usage
        : closest,
    first,
  );
}

const SECOND_MS = 1_000;
const MINUTE_SECONDS = 60;

/** Formats as OpenAI does: `12ms`, `1s`, `6m0s`. It rounds up, so that a client that waits this long is not refused again. */
function formatDuration(ms: number): string {
  if (ms < SECOND_MS) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / SECOND_MS);
  if (seconds < MINUTE_SECONDS) return `${seconds}s`;
  return `${Math.trunc(seconds / MINUTE_SECONDS)}m${seconds % MINUTE_SECONDS}s`;
}
