import { randomUUID } from 'node:crypto';
import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import type { Redis } from 'ioredis';
import { type Meter, type Usage, WINDOW_SECONDS } from './rate-limit-policies.js';
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

/** The slots of a killed process are free again after this time. */
export const LEASE_MS = 30_000;
/** Two renewals may fail before another process treats the slots as free. */
const LEASE_RENEWAL_MS = 10_000;

export type TakenSlots = {
  /** Whether all limits had a free slot. If not, no slot was taken. */
  readonly admitted: boolean;
  /** They are in the order of the meters. */
  readonly usages: readonly Usage[];
};

type Scripted = Redis & {
  cofferTakeSlots(keyCount: number, ...args: readonly (string | number)[]): Promise<unknown>;
};

/**
 * Slots of calls that run at the same time: in Redis for all processes together, and in each process for itself while Redis is
 * unavailable. A slot is a lease that its process renews, so no slot is lost when a process ends. It never rejects.
 */
@Injectable()
export class CallSlots implements OnModuleDestroy {
  private readonly redis: Scripted | null;
  /** The slots of each lease of this process, counted in Redis or here. */
  private readonly held = new Map<string, readonly string[]>();
  /** How many of those hold each slot key, so that this process counts correctly as soon as Redis becomes unavailable. */
  private readonly taken = new Map<string, number>();
  private readonly processId = randomUUID();
  private leases = 0;
  private renewal: NodeJS.Timeout | null = null;

  constructor(private readonly connection: RedisConnection) {
    const { client } = connection;
    client?.defineCommand('cofferTakeSlots', { lua: TAKE_SLOTS_SCRIPT });
    this.redis = client as Scripted | null;
  }

  /** Returns an id that no other call of any process has. */
  newLease(): string {
    this.leases += 1;
    return `${this.processId}:${this.leases}`;
  }

  /** @param lease null only asks how many are taken. */
  async take(meters: readonly Meter[], lease: string | null): Promise<TakenSlots> {
    if (meters.length === 0) return { admitted: true, usages: [] };
    const keys = meters.map(({ key }) => key);
    if (this.redis !== null && this.connection.usable) {
      try {
        const [admitted, ...taken] = await this.run(
          this.redis,
          keys,
          lease,
          meters.map(({ max }) => max),
        );
        if (admitted === 1 && lease !== null) this.hold(keys, lease);
        return toTaken(meters, admitted === 1, taken, lease);
      } catch (error) {
        this.connection.suspend(error);
      }
    }
    const admitted = meters.every(({ key, max }) => this.countTaken(key) < max);
    if (admitted && lease !== null) this.hold(keys, lease);
    return toTaken(
      meters,
      admitted,
      keys.map((key) => this.countTaken(key)),
      lease,
    );
  }

  /** It does not wait for Redis: a lease whose release does not arrive ends by itself. */
  release(lease: string): void {
    const keys = this.held.get(lease);
    if (keys === undefined) return;
    this.held.delete(lease);
    for (const key of keys) {
      const left = this.countTaken(key) - 1;
      if (left > 0) this.taken.set(key, left);
      else this.taken.delete(key);
    }
    if (this.held.size === 0) this.stopRenewing();
    const { redis } = this;
    if (redis === null || !this.connection.usable) return;
    Promise.all(keys.map((key) => redis.zrem(key, lease))).catch((error: unknown) =>
      this.connection.suspend(error),
    );
  }

  /** Runs every ten seconds while calls run. It also restores the leases that a Redis has lost during an outage. */
  async renewLeases(): Promise<void> {
    const { redis } = this;
    if (redis === null || !this.connection.usable) return;
    try {
      // They are sent together and before any later release, so no lease returns after its call.
      await Promise.all(
        [...this.held].map(([lease, keys]) => this.run(redis, keys, lease, keys.map(alwaysRoom))),
      );
    } catch (error) {
      this.connection.suspend(error);
    }
  }

  onModuleDestroy(): void {
    this.stopRenewing();
  }

  private async run(
    redis: Scripted,
    keys: readonly string[],
    lease: string | null,
    maxes: readonly number[],
  ): Promise<readonly number[]> {
    const answer = await redis.cofferTakeSlots(keys.length, ...keys, LEASE_MS, lease ?? '', ...maxes);
    if (
      !Array.isArray(answer) ||
      answer.length !== 1 + keys.length ||
      !answer.every((each) => Number.isSafeInteger(each))
    ) {
      throw new Error('Redis did not answer the slots that were asked for');
    }
    return answer as readonly number[];
  }

  private hold(keys: readonly string[], lease: string): void {
    this.held.set(lease, keys);
    for (const key of keys) this.taken.set(key, this.countTaken(key) + 1);
    if (this.redis !== null) {
      this.renewal ??= setInterval(() => void this.renewLeases(), LEASE_RENEWAL_MS).unref();
    }
  }

  private countTaken(key: string): number {
    return this.taken.get(key) ?? 0;
  }

  private stopRenewing(): void {
    if (this.renewal !== null) clearInterval(this.renewal);
    this.renewal = null;
  }
}

/** An admitted call keeps its slot, even if the limit is now lower. */
const alwaysRoom = (): number => Number.MAX_SAFE_INTEGER;

function toTaken(
  meters: readonly Meter[],
  admitted: boolean,
  taken: readonly number[],
  lease: string | null,
): TakenSlots {
  const usages = meters.map(({ limit, unit, max }, index): Usage => {
    const remaining = Math.max(max - (taken[index] ?? 0), 0);
    const exceeded = lease !== null && !admitted && remaining === 0;
    // The end of a running call is unknown.
    return { limit, unit, max, remaining, resetMs: null, exceeded };
  });
  return { admitted, usages };
}

/**
 * The script that Redis runs for the slots of running calls: a sorted set of leases by the time at which they end unless
 * they are renewed. It is one script, so that any number of processes together never take more slots than there are, for the
 * key and for its account at once. The time is Redis's own: the clocks of the processes do not matter.
 *
 * KEYS: slots. ARGV: lease ms, lease or '' (only asks), max of each. Returns whether all had a free slot, and the slots taken of each.
 */
export const TAKE_SLOTS_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, admitted, taken = ARGV[2], 1, {}
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  taken[i] = redis.call('ZCARD', key)
  if taken[i] >= tonumber(ARGV[2 + i]) then admitted = 0 end
end
if admitted == 1 and lease ~= '' then
  for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, string.format('%d', now + tonumber(ARGV[1])), lease)
    redis.call('PEXPIRE', key, ARGV[1])
    taken[i] = redis.call('ZCARD', key)
  end
end
return { admitted, unpack(taken) }
`;
