import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import OpenAI, { RateLimitError } from 'openai';
import { RedisConnection } from '../../src/identity/rate-limits/redis-connection.js';
import {
  balancesOf,
  expectReceiptsToAgree,
  generate,
  MODEL,
  PRICE_MICROS,
  SMALL,
} from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { RedisSimulator, waitForRedis } from '../support/servers/redis-simulator.js';
import { eventually } from '../support/processes.js';
import { parseList } from '../support/structured-fields.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const CREDIT_MICROS = PRICE_MICROS * 1_000n;
const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';

type Numbers = Readonly<Record<string, number | null>>;

/** Two processes on one database and one Redis. */
let redis: RedisSimulator;
let service: TestApp;
let second: TestApp;
let customer: TestCustomer;

beforeAll(async () => {
  redis = await RedisSimulator.start();
  service = await startTestApp({ blackForestLabs: true, settings: { redisUrl: redis.url } });
  const { databaseUrl, blackForestLabs } = service.settings;
  second = await startTestApp({
    databaseUrl: databaseUrl ?? '',
    settings: { redisUrl: redis.url, blackForestLabs, masterKeys: service.settings.masterKeys },
  });
  for (const { app } of [service, second]) waitForRedis(app.get(RedisConnection));
});

beforeEach(async () => {
  customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
});

afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await second.close();
  await service.close();
  await redis.stop();
});

async function limit(numbers: Numbers, { accountId } = customer): Promise<TestAnswer> {
  const answer = await service.operator.send('PUT', `/v1/accounts/${accountId}/limits`, {
    body: { reason: 'a test', ...numbers },
  });
  return answer.expect(200);
}

/** The same customer, at the other process. */
const elsewhere = (): Pick<TestCustomer, 'client'> => ({ client: second.client(customer.apiKey) });

const count = (answers: readonly TestAnswer[], status: number): number =>
  answers.filter((answer) => answer.status === status).length;

describe('images a minute', () => {
  it('are never more than the limit: 200 calls at once at two processes, and every refusal cost nothing', async () => {
    await limit({ images_per_minute: 50 });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => generate(index % 2 === 0 ? customer : elsewhere())),
    );
    expect(count(answers, 200)).toBe(50);
    expect(count(answers, 429)).toBe(150);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.body.error).toMatchObject({
      type: 'rate_limit_error',
      code: 'rate_limit_exceeded',
      param: 'n',
      limit: 'images-per-key',
      charged_micros: '0',
    });
    expect(refused?.headers.get('x-charged-micros')).toBe('0');
    expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(50);
    expect(Number(refused?.headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect((await balancesOf(customer)).posted).toBe(CREDIT_MICROS - 50n * PRICE_MICROS);
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it('are refused whole when fewer are left, and the fewer can still be had', async () => {
    await limit({ images_per_minute: 5 });
    (await generate(customer, { n: 3 })).expect(200);
    const refused = (await generate(customer, { n: 3 })).expect(429);
    expect(refused.body.error).toMatchObject({ limit: 'images-per-key', max: 5, remaining: 2 });
    expect(refused.headers.get('x-should-retry')).toBeNull();
    (await generate(customer, { n: 2 })).expect(200);
    expect((await balancesOf(customer)).posted).toBe(CREDIT_MICROS - 5n * PRICE_MICROS);
  });

  it('more than the limit itself is not to be sent again', async () => {
    await limit({ images_per_minute: 2 });
    const refused = (await generate(customer, { n: 3 })).expect(429);
    expect(refused.headers.get('x-should-retry')).toBe('false');
    expect(refused.body.error.message).toMatch(/at most 2/);
  });

  it('count only what a provider was asked for: not a 402, a 422, a 400 or a replay', async () => {
    const poor = await service.createCustomer({ grantMicros: PRICE_MICROS * 2n });
    await limit({ images_per_minute: 4 }, poor);
    const left = (answer: TestAnswer) => answer.headers.get('x-ratelimit-remaining-images');
    expect(left((await generate(poor, { n: 3 })).expect(402))).toBe('4');
    expect(left((await generate(poor, { n: 99 })).expect(400))).toBe('4');
    const key = { 'idempotency-key': 'the-same' };
    expect(left((await generate(poor, { n: 1 }, key)).expect(200))).toBe('3');
    expect(left((await generate(poor, { n: 1 }, key)).expect(200))).toBe('3');
    expect(left((await generate(poor, { n: 2 }, key)).expect(422))).toBe('3');
    expect(left((await generate(poor, { n: 1 })).expect(200))).toBe('2');
    expect((await balancesOf(poor)).posted).toBe(0n);
  });

  it('do not stand between a client and the answer of a call that succeeded', async () => {
    await limit({ images_per_minute: 1, concurrent_requests: 1 });
    const key = { 'idempotency-key': 'once' };
    const first = (await generate(customer, {}, key)).expect(200);
    (await generate(customer)).expect(429);
    const replay = (await generate(customer, {}, key)).expect(200);
    expect(replay.headers.get('idempotent-replayed')).toBe('true');
    expect(replay.headers.get('x-generation-id')).toBe(first.headers.get('x-generation-id'));
  });
});

describe('calls at the same time', () => {
  it('are never more than the limit, at two processes, and each slot is free again when its call is over', async () => {
    await limit({ concurrent_requests: 10 });
    const running = { now: 0, max: 0 };
    for (let round = 0; round < 3; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 60 }, async (_, index) => {
          const answer = await generate(index % 2 === 0 ? customer : elsewhere());
          running.max = Math.max(running.max, redisSlots());
          return answer;
        }),
      );
      expect(count(answers, 200)).toBeGreaterThanOrEqual(10);
      expect(count(answers, 200) + count(answers, 429)).toBe(60);
      const refused = answers.find(({ status }) => status === 429);
      expect(refused?.body.error).toMatchObject({
        code: 'concurrency_limit_exceeded',
        limit: 'concurrent_image_calls-per-key',
        charged_micros: '0',
      });
      expect(Number(refused?.headers.get('retry-after'))).toBe(3);
    }
    expect(running.max).toBeLessThanOrEqual(10);
    await eventually('each slot is free again', () => redisSlots() === 0);
    await expectReceiptsToAgree(service, customer.accountId, second);
  });

  it('are free again after calls that fail in every way', async () => {
    await limit({ concurrent_requests: 1 });
    (await generate(customer, { model: 'no/such-model' })).expect(404);
    (await generate(customer, { n: 0 })).expect(400);
    const poor = await service.createCustomer();
    await limit({ concurrent_requests: 1 }, poor);
    for (let index = 0; index < 3; index += 1) (await generate(poor)).expect(402);
    for (let index = 0; index < 3; index += 1) (await generate(customer)).expect(200);
  });

  const redisSlots = (): number =>
    Math.max(
      0,
      ...[...redis.slots]
        .filter(([key]) => key.includes(`{${customer.accountId}}`))
        .map(([, leases]) => leases.size),
    );
});

describe('the headers', () => {
  it('stand on every answer, refusals included, as well-formed structured fields that agree with each other', async () => {
    const free = () => generate(customer, { model: FREE_MODEL });
    const answers = [await generate(customer, { n: 2 }), await generate(customer, { n: 0 }), await free()];
    await limit({ requests_per_minute: 3, images_per_minute: 50 });
    answers.push(await generate(customer));
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 200, 429]);
    for (const { headers, status } of answers) {
      const policies = parseList(headers.get('ratelimit-policy') ?? '');
      const usages = parseList(headers.get('ratelimit') ?? '');
      expect(policies.map(({ value }) => value)).toEqual(usages.map(({ value }) => value));
      const names = policies.map(({ value }) => value);
      expect(names.slice(0, 6)).toEqual([
        'image_calls-per-key',
        'image_calls-per-account',
        'images-per-key',
        'images-per-account',
        'concurrent_image_calls-per-key',
        'concurrent_image_calls-per-account',
      ]);
      for (const [index, { parameters }] of policies.entries()) {
        expect(parameters['q']).toBeGreaterThan(0);
        expect(usages[index]?.parameters['r']).toBeGreaterThanOrEqual(0);
        const isConcurrent = parameters['qu'] === 'concurrent-requests';
        expect(parameters['w']).toBe(isConcurrent ? undefined : 60);
        expect(usages[index]?.parameters['t'] === undefined).toBe(isConcurrent);
      }
      expect(headers.get('x-ratelimit-limit-images')).toBe(status === 429 ? '50' : '600');
      expect(headers.get('x-ratelimit-reset-images')).toMatch(/^(\d+ms|\d+s|1m0s)$/);
      expect(headers.get('x-ratelimit-remaining-requests')).toMatch(/^\d+$/);
    }
    const [paid, , freeCall] = answers;
    expect(paid?.headers.get('x-ratelimit-remaining-images')).toBe('598');
    expect(freeCall?.headers.get('ratelimit-policy')).toMatch(/"free_images-per-key";q=6;w=60/);
    expect(freeCall?.headers.get('x-ratelimit-limit-requests')).toBe('6');
  });

  it('let the OpenAI SDK wait and come through, or see a RateLimitError', async () => {
    const ask = { model: MODEL, prompt: 'a fox', size: SMALL as '256x256' };
    const refusals: number[] = [];
    const send: typeof fetch = async (...request) => {
      const answer = await fetch(...request);
      if (answer.status === 429) refusals.push(Number(answer.headers.get('retry-after')) * 1_000);
      return answer;
    };
    const openai = (maxRetries: number) =>
      new OpenAI({ apiKey: customer.apiKey, baseURL: `${service.url}/v1`, maxRetries, fetch: send });
    await limit({ images_per_minute: 1 });
    await openai(0).images.generate(ask);
    await expect(openai(0).images.generate(ask)).rejects.toThrow(RateLimitError);
    // Half of the window: nothing else in this process waits for that long.
    redis.aheadMs += 30_000;
    refusals.length = 0;
    const pauses = passPauses((ms, taken) => ms === refusals[taken]);
    try {
      await openai(2).images.generate(ask);
      expect(refusals).toHaveLength(1);
      expect(pauses.lengthsMs).toEqual(refusals);
      expect(refusals[0]).toBeGreaterThan(500);
    } finally {
      pauses.restore();
    }
  });

  /** Timers of such a length take no real time: it passes at Redis, which keeps the time of limits, and in the service. */
  function passPauses(isPause: (ms: number, taken: number) => boolean) {
    const { setTimeout: start } = globalThis;
    const lengthsMs: number[] = [];
    const spy = jest.spyOn(globalThis, 'setTimeout').mockImplementation((run: () => void, ms = 0) => {
      if (!isPause(ms, lengthsMs.length)) return start(run, ms);
      lengthsMs.push(ms);
      redis.aheadMs += ms;
      service.clock.letPass(ms);
      return start(run, 0);
    });
    return { lengthsMs, restore: () => spy.mockRestore() };
  }
});

describe('limits of one account', () => {
  it('are in force at every process within two seconds, and audited permanently', async () => {
    const path = `/v1/accounts/${customer.accountId}/limits`;
    const before = (await service.operator.get(path)).expect(200);
    expect(before.body).toMatchObject({
      images_per_minute: { per_key: 600, per_account: 1_200 },
      changed: null,
    });
    (await generate(elsewhere())).expect(200);
    const set = await limit({ images_per_minute: 2_000, requests_per_minute: 3_000, concurrent_requests: 7 });
    expect(set.body).toMatchObject({
      object: 'account_limits',
      images_per_minute: { per_key: 2_000, per_account: 2_000 },
      requests_per_minute: { per_key: 3_000, per_account: 3_000 },
      concurrent_requests: { per_key: 7, per_account: 7 },
      changed: { version: 1, reason: 'a test', set_by: expect.stringMatching(/^operator_key:/) },
    });
    expect((await generate(customer)).headers.get('x-ratelimit-limit-images')).toBe('2000');
    second.clock.letPass(1_600);
    expect((await generate(elsewhere())).headers.get('x-ratelimit-limit-images')).toBe('2000');

    await Promise.all([limit({ images_per_minute: 10 }), limit({ images_per_minute: null })]);
    const rows = await service.dataSource.query<{ version: number }[]>(
      'SELECT version FROM account_limits WHERE account_id = $1 ORDER BY version',
      [customer.accountId],
    );
    expect(rows.map(({ version }) => version)).toEqual([1, 2, 3]);
    await expect(service.dataSource.query('UPDATE account_limits SET version = 9')).rejects.toThrow(
      /permission/,
    );
  });

  it('are set by operators only, within bounds, and for accounts that exist', async () => {
    const path = `/v1/accounts/${customer.accountId}/limits`;
    const put = (client: TestCustomer['client'], url: string, body: object) =>
      client.send('PUT', url, { body });
    (await put(customer.client, path, { reason: 'more', images_per_minute: 9 })).expect(403);
    (await put(service.operator, path, { images_per_minute: 9 })).expect(400);
    (await put(service.operator, path, { reason: 'none', images_per_minute: 0 })).expect(400);
    (await put(service.operator, path, { reason: 'odd', images_per_hour: 1 })).expect(400);
    const unknownAccount = path.replace(/acct_.{26}/, 'acct_01KB2H7Q0000000000000000AA');
    (await put(service.operator, unknownAccount, { reason: 'who' })).expect(404);
  });
});

describe('a process that is configured to limit nothing', () => {
  it('refuses no call, counts none and announces nothing', async () => {
    const { databaseUrl, blackForestLabs, masterKeys } = service.settings;
    const unlimited = await startTestApp({
      databaseUrl: databaseUrl ?? '',
      settings: { rateLimit: false, redisUrl: redis.url, blackForestLabs, masterKeys },
    });
    try {
      await limit({ requests_per_minute: 2, images_per_minute: 2, concurrent_requests: 1 });
      const there = { client: unlimited.client(customer.apiKey) };
      const answers = await Promise.all(Array.from({ length: 5 }, () => generate(there, { n: 3 })));
      expect(count(answers, 200)).toBe(5);
      for (const { headers } of answers) {
        expect([...headers.keys()].filter((name) => name.includes('ratelimit'))).toEqual([]);
      }
      const elsewhereLeft = (await generate(customer)).expect(200).headers;
      expect(elsewhereLeft.get('x-ratelimit-remaining-images')).toBe('1');
      expect((await balancesOf(customer)).posted).toBe(CREDIT_MICROS - 16n * PRICE_MICROS);
    } finally {
      await unlimited.close();
    }
  });
});

// Last: Redis is gone afterwards.
describe('Redis that dies in the middle', () => {
  it('fails no call: each process counts for itself, and never lets more through than the limit', async () => {
    await limit({ images_per_minute: 40 });
    const answers: TestAnswer[] = [];
    let begun = 0;
    const client = async (): Promise<void> => {
      while (begun < 120) {
        begun += 1;
        if (begun === 30) await redis.stop();
        answers.push(await generate(customer));
      }
    };
    await Promise.all(Array.from({ length: 12 }, client));
    expect(count(answers, 200) + count(answers, 429)).toBe(120);
    // What Redis had counted is forgotten once: at most the limit twice.
    expect(count(answers, 200)).toBeGreaterThanOrEqual(40);
    expect(count(answers, 200)).toBeLessThanOrEqual(80);
    await expectReceiptsToAgree(service, customer.accountId, second);
  });
});
