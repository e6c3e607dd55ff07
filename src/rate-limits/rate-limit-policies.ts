/** Counts start over this long after their first request. */
export const WINDOW_SECONDS = 60;

export type RateLimitPolicy = {
  /** Requests of one API key in a window. */
  readonly perKey: number;
  /** Requests of all keys of one account in a window. */
  readonly perAccount: number;
};

/**
 * Requests a minute. They keep one customer from taking the service away from the others; what a customer may
 * spend is the wallet's business.
 */
export const RATE_LIMIT_POLICIES = {
  /** Ten a second, for a model that takes about three seconds: some thirty images being made at any time. */
  images: { perKey: 600, perAccount: 1_200 },
  /** Calls of free models, which no wallet stops and which we pay for; beside `images`. */
  free_images: { perKey: 6, perAccount: 6 },
  /** A person buys a few times a day. How many of a day are taken is counted apart, in the database. */
  top_ups: { perKey: 60, perAccount: 120 },
  /** Answered from memory or by one index probe. */
  reads: { perKey: 1_200, perAccount: 2_400 },
  /** Each is a request of ours to a server of the customer's choice. */
  webhook_sends: { perKey: 30, perAccount: 60 },
  /** A person changes these a few times a year; each test is a request of ours to the provider. */
  provider_keys: { perKey: 30, perAccount: 60 },
} as const satisfies Record<string, RateLimitPolicy>;

export type RateLimitName = keyof typeof RATE_LIMIT_POLICIES;

/**
 * Refused keys from one network address in a window. Nobody guesses 256 bits; this is for a client that
 * repeats a dead key for ever, and for floods. Keys that work are not held up by it.
 */
export const FAILED_AUTHENTICATIONS_MAX = 300;
