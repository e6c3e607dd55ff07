import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Principal } from '../../src/identity/auth/principal.js';
import {
  LEASE_MS,
  type Admission,
  type Pass,
  RateLimiter,
} from '../../src/identity/rate-limits/rate-limiter.service.js';
import { systemClock } from '../../src/platform/common/clock.js';
import {
  type OwnNumbers,
  type Usage,
  usageHeaders,
} from '../../src/identity/rate-limits/rate-limit-policies.js';
import { RedisConnection, SUSPENDED_MS } from '../../src/identity/rate-limits/redis-connection.js';
import { TestClock } from '../support/app/test-clock.js';
import { eventually } from '../support/processes.js';
import { RedisSimulator, waitForRedis } from '../support/servers/redis-simulator.js';

// These tests are about an absent Redis, so its log lines would only fill their output.
Logger.overrideLogger(false);

describe('the headers', () => {
  const usage: Usage = {
    limit: 'a',
    unit: 'requests',
    max: 600,
    remaining: 10,
    resetMs: 1_000,
    exceeded: false,
  };

  it('write durations as OpenAI does, rounded up', () => {
    const resetOf = (resetMs: number) => usageHeaders([{ ...usage, resetMs }])['x-ratelimit-reset-requests'];
    expect([0, 12, 999, 1_000, 1_001, 59_000, 59_001, 60_000, 360_000].map(resetOf)).toEqual([
      '0ms',
      '12ms',
      '999ms',
      '1s',
      '2s',
      '59s',
      '1m0s',
      '1m0s',
      '6m0s',
    ]);
  });

  it('name the limit that is closest, of requests and of images apart', () => {
    const headers = usageHeaders([
      usage,
      { ...usage, limit: 'b', max: 1_200, remaining: 3, resetMs: 500 },
      { ...usage, limit: 'c', unit: 'images', max: 60, remaining: 1, resetMs: 2_000 },
      { ...usage, limit: 'd', unit: 'concurrent-requests', max: 24, remaining: 0, resetMs: null },
    ]);
    expect(headers).toEqual({
      'ratelimit-policy':
        '"a";q=600;w=60, "b";q=1200;w=60, "c";q=60;w=60;qu="images", "d";q=24;qu="concurrent-requests"',
      ratelimit: '"a";r=10;t=1, "b";r=3;t=1, "c";r=1;t=2, "d";r=0',
      'x-ratelimit-limit-requests': '1200',
      'x-ratelimit-remaining-requests': '3',
      'x-ratelimit-reset-requests': '500ms',
      'x-ratelimit-limit-images': '60',
      'x-ratelimit-remaining-images': '1',
      'x-ratelimit-reset-images': '2s',
    });
  });
});

/** One process's limits. */
type Limits = {
  readonly limiter: RateLimiter;
  readonly connection: RedisConnection;
  /** Of the connection: it leaves a Redis that failed alone for a while. */
  readonly clock: TestClock;
  /** What an operator has set for every account. */
  own: OwnNumbers;
  stop(): void;
};

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  jest.useRealTimers();
  for (const each of open.splice(0).reverse()) await each.stop();
});

function limitsOf(redisUrl: string | null, own: OwnNumbers = {}): Limits {
  const clock = new TestClock();
  const connection = new RedisConnection({ redisUrl, rateLimit: true }, clock);
  const limiter = new RateLimiter(connection, systemClock, { find: () => limits.own });
  const stop = (): void => {
    connection.onModuleDestroy();
    limiter.onModuleDestroy();
  };
  const limits: Limits = { limiter, connection, clock, own, stop };
  open.push(limits);
  return limits;
}

/** A key of an account of its own, which a real Redis does not know from an earlier run. */
function customer(accountId = `acct_${Date.now()}_${Math.random()}`, keyId = accountId): Principal {
  const scopes = new Set(['generate'] as const);
  return { kind: 'account_key', keyId, accountId, scopes, duplicateWindowSeconds: 0 };
}

async function leave(pass: Pass | null | undefined, made: boolean): Promise<readonly Usage[]> {
  pass?.release();
  return made || !pass ? [] : pass.giveBack();
}

const isRefused = (usages: readonly Usage[]): boolean => usages.some(({ exceeded }) => exceeded);

/** Of the first limit that bears the name: the key's. */
const leftOf = (usages: readonly Usage[], name: string): number | undefined =>
  usages.find(({ limit }) => limit.startsWith(name))?.remaining;

function enter({ limiter }: Limits, who: Principal, images = 1): Promise<Admission> {
  const slot = { name: 'concurrent_image_calls', cost: 1 } as const;
  return limiter.enter([{ name: 'images', cost: images }, slot], who);
}

const enterTimes = (times: number, limits: readonly Limits[], who: Principal, images = 1) =>
  Promise.all(
    Array.from({ length: times }, (_, index) => enter(limits[index % limits.length] as Limits, who, images)),
  );

const passesOf = (admissions: readonly Admission[]) => admissions.flatMap(({ pass }) => pass ?? []);

describe('in memory', () => {
  const WINDOW_MS = 60_000;

  it('200 calls at once are counted to the image', async () => {
    const limits = limitsOf(null, { images: 50 });
    expect(passesOf(await enterTimes(200, [limits], customer()))).toHaveLength(50);
  });

  it('any mix of keys and sizes at once is never more than the limits, and what is left can still be had', async () => {
    const limits = limitsOf(null);
    const keys = ['first', 'second', 'third'].map((key) => customer('acct', key));
    let images = 0;
    // 600 images a key and 1,200 an account: a refusal of one may be due to another that is refused as well.
    for (const size of [10, 7, 3, 1, 1, 1, 1]) {
      const waves = await Promise.all(keys.map((key) => enterTimes(80, [limits], key, size)));
      for (const passes of waves.map(passesOf)) {
        images += passes.length * size;
        for (const pass of passes) await leave(pass, true);
      }
      expect(images).toBeLessThanOrEqual(1_200);
    }
    expect(images).toBe(1_200);
  });

  it('a window begins with its first request, takes its number to the last millisecond, and then begins again', async () => {
    jest.useFakeTimers();
    const { limiter } = limitsOf(null, { image_calls: 3 });
    const who = customer();
    for (let index = 0; index < 3; index += 1)
      expect(isRefused(await limiter.count('image_calls', who))).toBe(false);
    jest.advanceTimersByTime(WINDOW_MS - 1);
    const [refused] = await limiter.count('image_calls', who);
    expect(refused).toMatchObject({ exceeded: true, remaining: 0, resetMs: 1 });
    jest.advanceTimersByTime(1);
    const [first] = await limiter.count('image_calls', who);
    expect(first).toMatchObject({ exceeded: false, remaining: 2, resetMs: WINDOW_MS });
  });

  it('counts a request for all of its limits or, when one has no room, for none', async () => {
    const limits = limitsOf(null, { images: 10, concurrent_image_calls: 1 });
    const who = customer();
    const first = await enter(limits, who, 4);
    // Images have room, the slot is taken.
    const second = await enter(limits, who, 4);
    expect(second.pass).toBeNull();
    expect(second.usages.filter(({ exceeded }) => exceeded).map(({ limit }) => limit)).toEqual([
      'concurrent_image_calls-per-key',
      'concurrent_image_calls-per-account',
    ]);
    expect(leftOf(second.usages, 'images')).toBe(6);
    await leave(first.pass, true);
    // The slot is free, images have no room for seven.
    const third = await enter(limits, who, 7);
    expect(third.pass).toBeNull();
    expect(leftOf(third.usages, 'images')).toBe(6);
    const fourth = await enter(limits, who, 6);
    expect(leftOf(fourth.usages, 'images')).toBe(0);
    expect(fourth.pass).not.toBeNull();
  });

  it('a key over its own limit does not use up what the other keys of the account have, not even for a moment', async () => {
    const limits = limitsOf(null);
    const [greedy, modest] = [customer('acct', 'greedy'), customer('acct', 'modest')];
    const countTimes = (times: number, who: Principal) =>
      Promise.all(Array.from({ length: times }, () => limits.limiter.count('image_calls', who)));
    const [flood, calls] = await Promise.all([countTimes(1_500, greedy), countTimes(600, modest)]);
    expect(flood.filter(isRefused)).toHaveLength(900);
    expect(calls.filter(isRefused)).toHaveLength(0);

    const [images, others] = await Promise.all([
      enterTimes(300, [limits], greedy, 10),
      enterTimes(60, [limits], modest, 10),
    ]);
    expect(passesOf(images)).toHaveLength(60);
    expect(passesOf(others)).toHaveLength(60);
  });

  it('gives back to the window that counted, and never to the one after it', async () => {
    jest.useFakeTimers();
    const limits = limitsOf(null, { images: 10 });
    const who = customer();
    const given = await enter(limits, who, 4);
    expect(leftOf(await leave(given.pass, false), 'images')).toBe(10);
    const late = await enter(limits, who, 4);
    const punctual = await enter(limits, who, 6);
    expect((await enter(limits, who, 1)).pass).toBeNull();
    await leave(punctual.pass, false);
    jest.advanceTimersByTime(WINDOW_MS);
    expect((await enter(limits, who, 10)).pass).not.toBeNull();
    await leave(late.pass, false);
    expect((await enter(limits, who, 1)).pass).toBeNull();
  });

  it('gives nothing back when the window is over and no other has begun', async () => {
    jest.useFakeTimers();
    const limits = limitsOf(null, { images: 10 });
    const who = customer();
    const late = await enter(limits, who, 4);
    jest.advanceTimersByTime(WINDOW_MS);
    await leave(late.pass, false);
    expect((await enter(limits, who, 10)).pass).not.toBeNull();
    expect((await enter(limits, who, 1)).pass).toBeNull();
  });
});

describe('with Redis', () => {
  async function startRedis(port?: number): Promise<RedisSimulator> {
    const redis = await RedisSimulator.start(port);
    open.push(redis);
    return redis;
  }

  async function stopRedis(redis: RedisSimulator): Promise<void> {
    await redis.stop();
    open.splice(open.indexOf(redis), 1);
  }

  async function connect(redisUrl: string, own: OwnNumbers): Promise<Limits> {
    const limits = limitsOf(redisUrl, own);
    waitForRedis(limits.connection);
    await eventually('Redis is there', () => limits.connection.usable);
    return limits;
  }

  const URL_VARIABLE = 'TEST_REDIS_URL';

  /** A real one, if there is one: TEST_REDIS_URL=redis://127.0.0.1:6379 npm test -- limit-counts */
  async function twoProcesses(own: OwnNumbers): Promise<[Limits, Limits]> {
    const url = process.env[URL_VARIABLE] ?? (await startRedis()).url;
    return [await connect(url, own), await connect(url, own)];
  }

  it('two processes count together, to the image', async () => {
    const processes = await twoProcesses({ images: 200, concurrent_image_calls: 1_000 });
    const who = customer();
    const admissions = await enterTimes(150, processes, who, 2);
    expect(passesOf(admissions)).toHaveLength(100);
    for (const { resetMs } of admissions.flatMap(({ usages }) => usages)) {
      if (resetMs === null) continue;
      expect(resetMs).toBeGreaterThan(0);
      expect(resetMs).toBeLessThanOrEqual(60_000);
    }
    expect(leftOf((await enter(processes[0], customer(), 2)).usages, 'images')).toBe(198);
  });

  it('two processes share the slots of running calls, and what one of them gives back', async () => {
    const processes = await twoProcesses({ images: 1_000, concurrent_image_calls: 10 });
    const [first, second] = processes;
    const who = customer();
    const shown = async ({ limiter }: Limits) =>
      limiter.count('reads', who, ['images', 'concurrent_image_calls']);
    const passes = passesOf(await enterTimes(40, processes, who, 3));
    expect(passes).toHaveLength(10);
    // A refused call was not counted for its images either.
    expect(leftOf(await shown(first), 'images')).toBe(970);
    expect(leftOf(await shown(second), 'concurrent_image_calls')).toBe(0);
    await leave(passes[0], false);
    await leave(passes[1], true);
    expect(leftOf(await shown(second), 'images')).toBe(973);
    expect(leftOf(await shown(second), 'concurrent_image_calls')).toBe(2);
    expect(passesOf(await enterTimes(20, processes, who))).toHaveLength(2);
  });

  it('a flood over the limit is refused without asking Redis each time, until an operator raises it', async () => {
    const redis = await startRedis();
    const limits = await connect(redis.url, { image_calls: 5 });
    const who = customer();
    const flood = () => limits.limiter.count('image_calls', who);
    for (let index = 0; index < 5; index += 1) expect(isRefused(await flood())).toBe(false);
    expect(isRefused(await flood())).toBe(true);
    const { asked } = redis;
    for (let index = 0; index < 50; index += 1) {
      const [refused] = await flood();
      expect(refused).toMatchObject({ exceeded: true, remaining: 0 });
      expect(refused?.resetMs).toBeLessThanOrEqual(60_000);
    }
    expect(redis.asked).toBe(asked);
    limits.own = { image_calls: 6 };
    expect(isRefused(await flood())).toBe(false);
    expect(isRefused(await flood())).toBe(true);
  });

  it('that has forgotten a window makes no later one larger by what is given back', async () => {
    const redis = await startRedis();
    const limits = await connect(redis.url, { images: 10 });
    const who = customer();
    const forgotten = await enter(limits, who, 4);
    redis.windows.clear();
    await leave(forgotten.pass, false);
    expect(passesOf(await enterTimes(15, [limits], who))).toHaveLength(10);
  });

  it('whose clock has ended a window begins the next one with nothing counted', async () => {
    const redis = await startRedis();
    const limits = await connect(redis.url, { images: 10 });
    const who = customer();
    expect(passesOf(await enterTimes(15, [limits], who))).toHaveLength(10);
    redis.aheadMs = 60_001;
    expect(passesOf(await enterTimes(15, [limits], who))).toHaveLength(10);
  });

  it('the slots of a process that died are free after half a minute, those of a living one are not', async () => {
    const redis = await startRedis();
    const own = { concurrent_image_calls: 2 };
    const [dead, living] = [await connect(redis.url, own), await connect(redis.url, own)];
    const who = customer();
    await enter(dead, who);
    await enter(living, who);
    open.splice(open.indexOf(dead), 1);
    dead.stop();
    redis.aheadMs = LEASE_MS - 2_000;
    expect((await enter(living, who)).pass).toBeNull();
    await living.limiter.renewSlots();
    redis.aheadMs = LEASE_MS + 2_000;
    const admission = await enter(living, who);
    expect(admission.pass).not.toBeNull();
    expect(leftOf(admission.usages, 'concurrent_image_calls')).toBe(0);
    expect((await enter(living, who)).pass).toBeNull();
  });

  it('that is away, each process counts for itself, and together again when it is back', async () => {
    const redis = await startRedis();
    const { port } = redis;
    const limits = await connect(redis.url, { images: 3 });
    const who = customer();
    expect(leftOf((await enter(limits, who)).usages, 'images')).toBe(2);
    await stopRedis(redis);
    expect(passesOf(await enterTimes(5, [limits], who))).toHaveLength(3);

    const back = await startRedis(port);
    limits.clock.letPass(SUSPENDED_MS);
    await eventually('Redis is there', () => limits.connection.usable);
    expect(leftOf((await enter(limits, who)).usages, 'images')).toBe(2);
    expect(back.windows.size).toBe(2);
  });

  it('that dies among running calls lets no process forget what it is running itself', async () => {
    const redis = await startRedis();
    const limits = await connect(redis.url, { concurrent_image_calls: 3 });
    const who = customer();
    const running = passesOf(await enterTimes(3, [limits], who));
    expect(running).toHaveLength(3);
    await stopRedis(redis);
    expect(passesOf(await enterTimes(20, [limits], who))).toHaveLength(0);
    await leave(running[0], true);
    expect(passesOf(await enterTimes(20, [limits], who))).toHaveLength(1);
  });

  it('that hangs delays a request by a quarter of a second once, not every request', async () => {
    const redis = await startRedis();
    const limits = limitsOf(redis.url, {});
    await eventually('Redis is there', () => limits.connection.usable);
    const who = customer();
    const ask = async () => {
      await limits.limiter.count('image_calls', who, ['images', 'concurrent_image_calls']);
      await leave((await enter(limits, who)).pass, false);
    };
    await ask();
    redis.hanging = true;
    const startedMs = performance.now();
    for (let index = 0; index < 50; index += 1) await ask();
    expect(performance.now() - startedMs).toBeLessThan(1_000);
  });

  it('that answers garbage is left alone: each process counts for itself', async () => {
    const redis = await startRedis();
    const limits = await connect(redis.url, { images: 3, concurrent_image_calls: 2 });
    redis.garbage = true;
    const admissions = await enterTimes(5, [limits], customer());
    expect(passesOf(admissions)).toHaveLength(2);
    expect(limits.connection.usable).toBe(false);
  });
});
