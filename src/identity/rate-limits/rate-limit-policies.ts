import type { Scope } from '../auth/principal.js';

/** A count starts again from zero this long after the first request that was counted. */
export const WINDOW_SECONDS = 60;

/**
 * What a limit counts: requests or images of a window, or calls that run at the same time. These are the words of the
 * `RateLimit-Policy` header (`qu`), except `images`, for which there is no registered unit.
 */
export type LimitUnit = 'requests' | 'images' | 'concurrent-requests';

export type RateLimitPolicy = {
  readonly unit: LimitUnit;
  /** For one API key. */
  readonly perKey: number;
  /** For all keys of one account together. */
  readonly perAccount: number;
};

/**
 * They keep one customer from using up the service for the others; the wallet decides what a customer may spend.
 * An operator may set the first three for an account (`PUT /v1/accounts/{id}/limits`).
 */
export const RATE_LIMIT_POLICIES = {
  /** Ten a second, for a model that takes about three seconds: some thirty images are being made at any time. */
  image_calls: { unit: 'requests', perKey: 600, perAccount: 1_200 },
  /** As many as calls: a client that asks for one image a call reaches the limit of calls, one that asks for ten reaches this one. */
  images: { unit: 'images', perKey: 600, perAccount: 1_200 },
  /**
   * Thirty calls run at any time at full speed; three times as many while the provider is slow. It counts calls and not
   * images: a caller knows how many answers it waits for, `concurrent-requests` is the header's unit, and the provider's own
   * slots limit how many images reach it at once.
   */
  concurrent_image_calls: { unit: 'concurrent-requests', perKey: 100, perAccount: 200 },
  /** Calls of free models, which no wallet limits and which the platform pays for; they are also counted in `image_calls`. */
  free_images: { unit: 'requests', perKey: 6, perAccount: 6 },
  /** A person buys a few times a day. The number of top-ups a day is limited separately, in the database. */
  top_ups: { unit: 'requests', perKey: 60, perAccount: 120 },
  /** Reads are answered from memory or by few index probes. */
  reads: { unit: 'requests', perKey: 1_200, perAccount: 2_400 },
  /** What a client changes or requests in addition to making images: as often as it may call for one. */
  writes: { unit: 'requests', perKey: 600, perAccount: 1_200 },
  /** Creating, limiting and revoking API keys: a program that gives each of its users a key creates one a second. */
  key_changes: { unit: 'requests', perKey: 60, perAccount: 120 },
  /** Consoles and scripts of the platform itself: a hundred a second, so that a faulty one is stopped. */
  operator_requests: { unit: 'requests', perKey: 6_000, perAccount: 6_000 },
  /** Each sends a request to a server of the customer's choice. */
  webhook_sends: { unit: 'requests', perKey: 30, perAccount: 60 },
  /** A person changes these a few times a year; each test sends a request to the provider. */
  provider_keys: { unit: 'requests', perKey: 30, perAccount: 60 },
} as const satisfies Record<string, RateLimitPolicy>;

export type RateLimitName = keyof typeof RATE_LIMIT_POLICIES;

/**
 * The limits of routes that only query the database: this process works on a limited number of one account's requests to them
 * (`AccountSlots` in `rate-limit.guard.ts`). The other routes wait for outside parties, or limit concurrent calls themselves.
 */
export const QUERY_ROUTE_LIMITS: ReadonlySet<RateLimitName> = new Set(['reads', 'writes', 'key_changes']);

/** Limits that can have another number for one account. */
export const ADJUSTABLE_LIMITS = ['image_calls', 'images', 'concurrent_image_calls'] as const;
export type AdjustableLimit = (typeof ADJUSTABLE_LIMITS)[number];

export type LimitNumbers = Pick<RateLimitPolicy, 'perKey' | 'perAccount'>;

/**
 * Refused keys from one network address in a window. 256 bits cannot be guessed; this is for a client that repeats a
 * revoked key without end, and for floods. It does not delay valid keys.
 */
export const FAILED_AUTHENTICATIONS_MAX = 300;

/**
 * Requests without a key from one network address in a window: fifty a second, for an office or a crawler of the public
 * pages. An IPv6 address is counted by its /64.
 */
export const REQUESTS_PER_ADDRESS_MAX = 3_000;

/** The limits that the requests of a route are counted against. */
export type RouteLimits = {
  readonly counted: RateLimitName;
  /** These are counted later, when the request is parsed; every answer of the route reports how much is left. */
  readonly shown: readonly RateLimitName[];
};

type ScopeLimits = { readonly read: RateLimitName; readonly write: RateLimitName };

/**
 * Every route with a key has a limit: this one, by the scope that it requires, unless `@RateLimited` names another. A scope
 * without an entry does not compile, so no route is forgotten. Null means that its routes are not limited.
 */
export const SCOPE_LIMITS: Readonly<Record<Scope, ScopeLimits | null>> = {
  generate: { read: 'reads', write: 'writes' },
  'wallet:read': { read: 'reads', write: 'writes' },
  'wallet:write': { read: 'reads', write: 'writes' },
  'cards:charge': { read: 'reads', write: 'writes' },
  // A change of spend limits is a command in the one queue of money, and new keys fill the caches of all processes.
  'keys:write': { read: 'reads', write: 'key_changes' },
  // An outside gateway charges thousands of images a second through these routes. Counting each of them would cost as much as
  // the engine's own work on it; the bounded queue of the engine (`engine_saturated`) limits them.
  debits: null,
  finance: { read: 'operator_requests', write: 'operator_requests' },
  admin: { read: 'operator_requests', write: 'operator_requests' },
};

/** Numbers that an operator set; absent ones have their default. */
export type OwnNumbers = { readonly [Limit in AdjustableLimit]?: number };

/** The limits that an operator set for one account. */
export type OwnLimits = OwnNumbers | null;

export const ACCOUNT_LIMITS = Symbol('ACCOUNT_LIMITS');

/** Port for the limits of single accounts. Without an implementation, all accounts have the default limits. */
export interface AccountLimits {
  /**
   * Returns null for an account with the default limits. It is synchronous for an account that calls often, and never rejects:
   * while the database is unavailable, the last known limits apply.
   */
  find(accountId: string): OwnLimits | Promise<OwnLimits>;
}

/** Returns the default numbers, unless an operator set others. */
export function getLimitNumbers(name: RateLimitName, own: OwnLimits): LimitNumbers {
  const set = isAdjustable(name) ? own?.[name] : undefined;
  // An account's number applies to all of its keys together: a single key may use it up.
  return set === undefined ? RATE_LIMIT_POLICIES[name] : { perKey: set, perAccount: set };
}

function isAdjustable(name: RateLimitName): name is AdjustableLimit {
  return (ADJUSTABLE_LIMITS as readonly string[]).includes(name);
}

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
