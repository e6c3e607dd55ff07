import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { WINDOW_SECONDS } from './rate-limit-policies.js';
import type { RedisConnection } from './redis-connection.js';
import type { Usage } from './usage.js';

const KEY_PREFIX = 'coffer:requests';

/** Counts the requests of each subject (a key, an account) against one limit: in Redis, else in memory. */
export class RequestCounter {
  private readonly memory: RateLimiterMemory;
  private readonly shared: RateLimiterRedis | null;

  /**
   * @param limit its name on the wire.
   * @param max requests a window.
   */
  constructor(
    readonly limit: string,
    readonly max: number,
    private readonly redis: RedisConnection,
  ) {
    const options = { keyPrefix: `${KEY_PREFIX}:${limit}`, points: max, duration: WINDOW_SECONDS };
    this.memory = new RateLimiterMemory(options);
    this.shared =
      redis.client === null
        ? null
        : new RateLimiterRedis({
            ...options,
            storeClient: redis.client,
            // Once over the limit, the rest of the window is refused without asking Redis.
            inMemoryBlockOnConsumed: max + 1,
          });
  }

  async count(subject: string): Promise<Usage> {
    if (this.shared !== null && this.redis.usable) {
      try {
        return this.toUsage(await consume(this.shared, subject));
      } catch (error) {
        this.redis.suspend(error);
      }
    }
    return this.toUsage(await consume(this.memory, subject));
  }

  private toUsage({ result, exceeded }: Consumed): Usage {
    return {
      limit: this.limit,
      max: this.max,
      remaining: exceeded ? 0 : result.remainingPoints,
      resetMs: Math.max(result.msBeforeNext, 0),
      exceeded,
    };
  }
}

type Consumed = { readonly result: RateLimiterRes; readonly exceeded: boolean };

/** The library rejects with the result itself when the limit is exceeded, and with an `Error` when it could not count. */
async function consume(limiter: RateLimiterMemory | RateLimiterRedis, subject: string): Promise<Consumed> {
  try {
    return { result: await limiter.consume(subject), exceeded: false };
  } catch (result) {
    if (result instanceof RateLimiterRes) return { result, exceeded: true };
    throw result;
  }
}
