/** Counts start over this long after the first request that was counted. */
export const WINDOW_SECONDS = 60;

/**
 * What a limit counts: requests or images of a window, or calls that run at the same time. The words of the
 * `RateLimit-Policy` header (`qu`); `images` is ours, for no registered unit means it.
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
 * They keep one customer from taking the service away from the others; what a customer may spend is the wallet's
 * business. An operator may set the first three for an account (`PUT /v1/accounts/{id}/limits`).
 */
export const RATE_LIMIT_POLICIES = {
  /** Ten a second, for a model that takes about three seconds: some thirty images being made at any time. */
  image_calls: { unit: 'requests', perKey: 600, perAccount: 1_200 },
  /** As many as calls: who asks for one image a call meets the limit of calls, who asks for ten meets this one. */
  images: { unit: 'images', perKey: 600, perAccount: 1_200 },
  /**
   * Thirty calls run at any time at full pace; three times as many while the provider is slow. Calls are counted and
   * not images: a caller knows how many answers it waits for, `concurrent-requests` is what the header's unit
   * says, and how many images reach a provider at once is bounded by its own slots.
   */
  concurrent_image_calls: { unit: 'concurrent-requests', perKey: 100, perAccount: 200 },
  /** Calls of free models, which no wallet stops and which we pay for; beside `image_calls`. */
  free_images: { unit: 'requests', perKey: 6, perAccount: 6 },
  /** A person buys a few times a day. How many of a day are taken is counted apart, in the database. */
  top_ups: { unit: 'requests', perKey: 60, perAccount: 120 },
  /** Answered from memory or by few index probes. */
  reads: { unit: 'requests', perKey: 1_200, perAccount: 2_400 },
  /** What a client changes or asks for beside making images: as often as it may call for one. */
  writes: { unit: 'requests', perKey: 600, perAccount: 1_200 },
  /** Making, limiting and revoking API keys: a program that gives each of its users a key makes one a second. */
  key_changes: { unit: 'requests', perKey: 60, perAccount: 120 },
  /** Consoles and scripts of the platform itself: a hundred a second, so that one that runs wild is stopped. */
  operator_requests: { unit: 'requests', perKey: 6_000, perAccount: 6_000 },
  /** Each is a request of ours to a server of the customer's choice. */
  webhook_sends: { unit: 'requests', perKey: 30, perAccount: 60 },
  /** A person changes these a few times a year; each test is a request of ours to the provider. */
  provider_keys: { unit: 'requests', perKey: 30, perAccount: 60 },
} as const satisfies Record<string, RateLimitPolicy>;

export type RateLimitName = keyof typeof RATE_LIMIT_POLICIES;

/**
 * Limits of routes that only ask the database and answer: one account's requests to them take turns (`account-turns.ts`). The
 * others wait for outside parties, or bound calls at the same time themselves.
 */
export const TAKES_TURNS: ReadonlySet<RateLimitName> = new Set(['reads', 'writes', 'key_changes']);

/** Limits that can be another number for one account. */
export const ADJUSTABLE_LIMITS = ['image_calls', 'images', 'concurrent_image_calls'] as const;
export type AdjustableLimit = (typeof ADJUSTABLE_LIMITS)[number];

export type LimitNumbers = Pick<RateLimitPolicy, 'perKey' | 'perAccount'>;

/**
 * Refused keys from one network address in a window. Nobody guesses 256 bits; this is for a client that
 * repeats a dead key for ever, and for floods. Keys that work are not held up by it.
 */
export const FAILED_AUTHENTICATIONS_MAX = 300;

/**
 * Requests without a key from one network address in a window: fifty a second, for an office or a crawler of the public
 * pages. Of IPv6 the address is a /64.
 */
export const REQUESTS_PER_ADDRESS_MAX = 3_000;
