import { WINDOW_SECONDS } from './rate-limit-policies.js';

/** How much of one limit is used up. */
export type Usage = {
  /** The limit's name on the wire. */
  readonly limit: string;
  /** Requests that a window takes. */
  readonly max: number;
  readonly remaining: number;
  /** Until the count starts over. */
  readonly resetMs: number;
  readonly exceeded: boolean;
};

/**
 * Both families of headers: OpenAI's (`x-ratelimit-*`, which its clients read) for the limit that is closest,
 * and the IETF draft's (`RateLimit`, `RateLimit-Policy`, draft-ietf-httpapi-ratelimit-headers-11) for all.
 */
export function usageHeaders(usages: readonly Usage[]): Record<string, string> {
  const closest = usages.reduce((least, usage) => (usage.remaining < least.remaining ? usage : least));
  return {
    'ratelimit-policy': usages.map(({ limit, max }) => `"${limit}";q=${max};w=${WINDOW_SECONDS}`).join(', '),
    ratelimit: usages
      .map(({ limit, remaining, resetMs }) => `"${limit}";r=${remaining};t=${Math.ceil(resetMs / 1_000)}`)
      .join(', '),
    'x-ratelimit-limit-requests': String(closest.max),
    'x-ratelimit-remaining-requests': String(closest.remaining),
    'x-ratelimit-reset-requests': formatDuration(closest.resetMs),
  };
}

const SECOND_MS = 1_000;
const MINUTE_SECONDS = 60;

/** As OpenAI writes them: `12ms`, `1s`, `6m0s`. Rounded up, so that whoever waits it out is not refused again. */
function formatDuration(ms: number): string {
  if (ms < SECOND_MS) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / SECOND_MS);
  if (seconds < MINUTE_SECONDS) return `${seconds}s`;
  return `${Math.trunc(seconds / MINUTE_SECONDS)}m${seconds % MINUTE_SECONDS}s`;
}
