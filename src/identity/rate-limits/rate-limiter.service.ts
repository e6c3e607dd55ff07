import { randomUUID } from 'node:crypto';
import { Inject, Injectable, Optional, type OnModuleDestroy } from '@nestjs/common';
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import type { Redis } from 'ioredis';
import type { Principal } from '../auth/principal.js';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import {
  ACCOUNT_LIMITS,
  type AccountLimits,
  getLimitNumbers,
  type OwnLimits,
  RATE_LIMIT_POLICIES,
  type RateLimitName,
  type Meter,
  type Usage,
  WINDOW_SECONDS,
} from './rate-limit-policies.js';
import { COMMAND_TIMEOUT_MS, RedisConnection } from './redis-connection.js';

/** One limit to count, for a key and its account. */
export type Cost = {
  readonly name: RateLimitName;
  /** The number of requests or images, or 1 for a slot; 0 only asks how much is left. */
  readonly cost: number;
};

/** The admission of a call that may run. */
export type Pass = {
  /** Frees the slots of a call that has ended and whose answer was sent. */
  release(): void;
  /** Takes the call out of the counts, because no provider was asked. It may be called once; returns how much is left. */
  giveBack(): Promise<readonly Usage[]>;
};

export type Admission = {
  readonly usages: readonly Usage[];
  /** Null when it was refused; one usage is exceeded and nothing was counted. */
  readonly pass: Pass | null;
};

type Counted = {
  readonly admitted: boolean;
  readonly usages: readonly Usage[];
  /** Takes the request out of the counts when it has ended or was refused. */
  giveBack(): Promise<readonly Usage[]>;
};

const KEY_PREFIX = 'coffer:limits';

/**
 * Counts by key and by account, against the limits in force. A request is counted for all of its limits or, when one is
 * exceeded, for none: a key over its own limit does not use up what the account's other keys still have.
 */
@Injectable()
export class RateLimiter implements OnModuleDestroy {
  private readonly windows: WindowCounter;
  private readonly slots: CallSlots;
  private readonly refusals: KnownRefusals;

  constructor(
    redis: RedisConnection,
    @Inject(CLOCK) clock: MonotonicClock,
    @Optional() @Inject(ACCOUNT_LIMITS) private readonly accountLimits: AccountLimits | null = null,
  ) {
    this.windows = new WindowCounter(redis);
    this.slots = new CallSlots(redis);
    this.refusals = new KnownRefusals(clock);
  }

  onModuleDestroy(): void {
    this.slots.stopRenewing();
  }

  /**
   * Counts one request. When it is refused, one usage is exceeded.
   *
   * @param shown limits that are not counted here, but are returned as well.
   */
  async count(
    name: RateLimitName,
    principal: Principal,
    shown: readonly RateLimitName[] = [],
  ): Promise<readonly Usage[]> {
    const costs = [{ name, cost: 1 }, ...shown.map((other) => ({ name: other, cost: 0 }))];
    const meters = await this.createMeters(costs, principal);
    const known = this.refusals.find(meters);
    if (known !== null) return known;
    const { admitted, usages } = await this.take(meters, null);
    if (!admitted) this.refusals.remember(meters, usages);
    return usages;
  }

  /** Counts a call that takes some time, until it is released. */
  async enter(costs: readonly Cost[], principal: Principal): Promise<Admission> {
    const meters = await this.createMeters(costs, principal);
    const lease = this.slots.newLease();
    const counted = await this.take(meters, lease);
    const { usages } = counted;
    if (!counted.admitted) return { usages, pass: null };
    const release = (): void => this.slots.release(lease);
    return { usages, pass: { release, giveBack: () => counted.giveBack() } };
  }

  /** Renews the slots of the running calls. It runs by itself every ten seconds. */
  renewSlots(): Promise<void> {
    return this.slots.renewLeases();
  }

  /**
   * Checks the key's own limits and the slots first, then the account's, so that a key over its limit never uses up the account's
   * shared limit, not even for a moment. With one check for all, a flood on one key could cause refusals for the others.
   */
  private async take(meters: readonly Meter[], lease: string | null): Promise<Counted> {
    const windows = meters.filter((meter) => !isSlot(meter));
    const [ofKey, slots] = await Promise.all([
      this.windows.count(windows.filter(({ per }) => per === 'key')),
      this.slots.take(meters.filter(isSlot), lease),
    ]);
    const ofAccountMeters = windows.filter(({ per }) => per === 'account');
    const goesOn = ofKey.admitted && (slots.admitted || lease === null);
    const ofAccount = await this.windows.count(goesOn ? ofAccountMeters : ofAccountMeters.map(onlyLook));
    const inOrder = (...usages: readonly Usage[]) => sortByMeters(meters, [...usages, ...slots.usages]);
    const giveBack = async (): Promise<readonly Usage[]> => {
      const given = await Promise.all([ofKey.giveBack(), ofAccount.giveBack()]);
      return inOrder(...given.flat());
    };
    if (goesOn && ofAccount.admitted) {
      return { admitted: true, usages: inOrder(...ofKey.usages, ...ofAccount.usages), giveBack };
    }
    if (lease !== null) this.slots.release(lease);
    return { admitted: false, usages: await giveBack(), giveBack };
  }

  private async createMeters(costs: readonly Cost[], principal: Principal): Promise<readonly Meter[]> {
    if (principal.kind === 'operator_key') {
      // The operator key belongs to no account, and has the default limits.
      return costs.map((cost) => toMeter(cost, 'key', principal.keyId, principal.keyId, null));
    }
    const { accountId, keyId } = principal;
    const found = this.accountLimits?.find(accountId) ?? null;
    const own = found instanceof Promise ? await found : found;
    return costs.flatMap((cost) => [
      toMeter(cost, 'key', keyId, accountId, own),
      toMeter(cost, 'account', accountId, accountId, own),
    ]);
  }
}

function toMeter(
  { name, cost }: Cost,
  per: 'key' | 'account',
  subject: string,
  owner: string,
  own: OwnLimits,
): Meter {
  const limit = `${name}-per-${per}`;
  const { perKey, perAccount } = getLimitNumbers(name, own);
  return {
    limit,
    unit: RATE_LIMIT_POLICIES[name].unit,
    per,
    // A cluster of Redis hashes the part in braces: the slots of a key and of its account must be on the same node.
    key: `${KEY_PREFIX}:{${owner}}:${limit}:${subject}`,
    max: per === 'key' ? perKey : perAccount,
    cost,
  };
}

function isSlot({ unit }: Meter): boolean {
  return unit === 'concurrent-requests';
}

function onlyLook(meter: Meter): Meter {
  return { ...meter, cost: 0 };
}

/** Returns the order of the headers: a limit of the key, then the same limit of its account. */
function sortByMeters(meters: readonly Meter[], usages: readonly Usage[]): readonly Usage[] {
  return meters.flatMap(({ limit }) => usages.filter((usage) => usage.limit === limit));
}

/** Long enough that a flood costs Redis almost nothing; short enough that a client that was refused narrowly is soon admitted. */
const REMEMBERED_MS = 1_000;
/** Each is a key over its limit; beyond this number, Redis is asked again. */
const REFUSALS_MAX = 10_000;

type Refusal = { readonly usages: readonly Usage[]; readonly untilMs: number };

/**
 * Refuses again, without counting, what was just refused. The library's `inMemoryBlockOnConsumed` knows neither what the
 * other limits of the request have left nor that an operator has raised this one.
 */
export class KnownRefusals {
  private readonly refusals = new Map<string, Refusal>();

  constructor(private readonly clock: MonotonicClock) {}

  find(meters: readonly Meter[]): readonly Usage[] | null {
    const refusal = this.refusals.size === 0 ? undefined : this.refusals.get(toKey(meters));
    return refusal !== undefined && this.clock.monotonicMs() < refusal.untilMs ? refusal.usages : null;
  }

  remember(meters: readonly Meter[], usages: readonly Usage[]): void {
    if (this.refusals.size >= REFUSALS_MAX) this.refusals.clear();
    const waitsMs = usages.filter(({ exceeded }) => exceeded).map(({ resetMs }) => resetMs ?? 0);
    const untilMs = this.clock.monotonicMs() + Math.min(REMEMBERED_MS, ...waitsMs);
    this.refusals.set(toKey(meters), { usages, untilMs });
  }
}

function toKey(meters: readonly Meter[]): string {
  return meters.map(({ key, max }) => `${key}=${max}`).join();
}

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
class WindowCounter {
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
class CallSlots {
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

  stopRenewing(): void {
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
