import { Injectable } from '@nestjs/common';
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import type { Meter, Usage } from './usage.js';
import { WINDOW_SECONDS } from './rate-limit-policies.js';
import { COMMAND_TIMEOUT_MS, RedisConnection } from './redis-connection.js';

const WINDOW_MS = WINDOW_SECONDS * 1_000;

/** One counter serves limits of every size: the code here compares the count with the limit. */
const OPTIONS = { keyPrefix: '', points: Number.MAX_SAFE_INTEGER, duration: WINDOW_SECONDS };

export type CountedWindows = {
  /** Whether no limit was exceeded. */
  readonly admitted: boolean;
  /** They are in the order of the meters, and include this request. */
  readonly usages: readonly Usage[];
  /** A refused request calls it once to take itself out of the counts. What cannot be given back ends with its window. */
  giveBack(): Promise<readonly Usage[]>;
};

/**
 * Counts requests and images a minute with rate-limiter-flexible: in Redis for all processes together, or in each process
 * for itself while Redis is unavailable. It never rejects. The library's `insuranceLimiter` would wait for a Redis that hangs at
 * every request, and would not report who counted, which must also take back what is given back.
 */
@Injectable()
export class WindowCounter {
  private readonly memory = new RateLimiterMemory(OPTIONS);
  private readonly shared: RateLimiterRedis | null;

  constructor(private readonly redis: RedisConnection) {
    this.shared =
      redis.client === null ? null : new RateLimiterRedis({ ...OPTIONS, storeClient: redis.client });
  }

  /** Counts for all limits at the same time, also for exceeded ones. */
  async count(meters: readonly Meter[]): Promise<CountedWindows> {
    if (this.shared !== null && this.redis.usable) {
      try {
        return await this.countWith(this.shared, meters);
      } catch (error) {
        this.redis.suspend(error);
      }
    }
    return this.countWith(this.memory, meters);
  }

  private async countWith(limiter: RateLimiterAbstract, meters: readonly Meter[]): Promise<CountedWindows> {
    const startedMs = performance.now();
    const windows = await Promise.all(meters.map((meter) => countOne(limiter, meter)));
    return {
      admitted: windows.every(({ exceeded }) => !exceeded),
      usages: windows.map((window) => toUsage(window, window.used)),
      giveBack: async () => {
        await this.giveBackTo(limiter, windows, startedMs);
        return windows.map((window) => toUsage(window, window.used - window.meter.cost));
      },
    };
  }

  private async giveBackTo(
    limiter: RateLimiterAbstract,
    windows: readonly Window[],
    startedMs: number,
  ): Promise<void> {
    if (limiter === this.shared && !this.redis.usable) return;
    try {
      await Promise.all(windows.map((window) => giveBackOne(limiter, window, startedMs)));
    } catch (error) {
      this.redis.suspend(error);
    }
  }
}

type Window = {
  readonly meter: Meter;
  /** Includes this request. */
  readonly used: number;
  readonly resetMs: number;
  readonly exceeded: boolean;
};

async function countOne(limiter: RateLimiterAbstract, meter: Meter): Promise<Window> {
  const { key, cost, max } = meter;
  // A window begins with the first request that counts, not with one that only asks.
  const result = cost === 0 ? await limiter.get(key) : await limiter.consume(key, cost);
  if (result === null || result.msBeforeNext <= 0) {
    return { meter, used: cost, resetMs: WINDOW_MS, exceeded: cost > max };
  }
  const { consumedPoints: used, msBeforeNext } = result;
  if (!Number.isSafeInteger(used)) throw new Error(`no count was answered for ${key}`);
  // In memory it is measured by the wall clock, which may have been set back.
  return { meter, used, resetMs: Math.min(msBeforeNext, WINDOW_MS), exceeded: cost > 0 && used > max };
}

/**
 * `reward` adds to the present window, or begins one below zero where there is none. So what is given back must arrive before
 * the end of the window that counted it: the time is measured from before that, on a monotonic clock, and with as much to
 * spare as a command takes at most.
 */
async function giveBackOne(
  limiter: RateLimiterAbstract,
  { meter: { key, cost }, resetMs }: Window,
  startedMs: number,
): Promise<void> {
  if (cost === 0 || performance.now() + COMMAND_TIMEOUT_MS >= startedMs + resetMs) return;
  const { consumedPoints } = await limiter.reward(key, cost);
  // A Redis that restarted has lost the window, and no client's next one may be larger for that.
  if (consumedPoints < 0) await limiter.penalty(key, cost);
}

function toUsage({ meter, resetMs, exceeded }: Window, used: number): Usage {
  const { limit, unit, max } = meter;
  return { limit, unit, max, remaining: Math.max(max - used, 0), resetMs, exceeded };
}
