import { randomUUID } from 'node:crypto';
import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { Redis } from 'ioredis';
import type { Meter, Usage } from './usage.js';
import { RedisConnection } from './redis-connection.js';

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
