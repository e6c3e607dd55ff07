/* eslint-disable @typescript-eslint/no-explicit-any -- answers are inspected as plain JSON */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, Global, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  hashApiKey,
  makeApiKey,
  type Credential,
  CREDENTIALS,
  type Credentials,
} from '../../src/identity/auth/credentials.js';
import { AuthModule } from '../../src/identity/auth/auth.module.js';
import { RequireScope } from '../../src/identity/auth/require-scope.decorator.js';
import { CLOCK, type Clock, type MonotonicClock } from '../../src/platform/common/clock.js';
import { CommonModule } from '../../src/platform/common/common.module.js';
import { ConfigModule } from '../../src/platform/config/config.module.js';
import { readSettings, type Settings } from '../../src/platform/config/settings.js';
import { LEDGER_CLOCK } from '../../src/platform/database/ledger-clock.js';
import { ProblemFilter } from '../../src/platform/errors/problem.filter.js';
import { addressGroup } from '../../src/platform/http/connections.js';
import { RateLimited } from '../../src/identity/rate-limits/rate-limit.guard.js';
import {
  FAILED_AUTHENTICATIONS_MAX,
  RATE_LIMIT_POLICIES,
} from '../../src/identity/rate-limits/rate-limit-policies.js';
import { RateLimitsModule } from '../../src/identity/rate-limits/rate-limits.module.js';
import { TestClock } from '../support/app/test-clock.js';

/** Of all limits the one that is reached soonest. */
const LIMIT = 'webhook_sends';
const { perKey, perAccount } = RATE_LIMIT_POLICIES[LIMIT];

/** Keys as they would be stored: the limits do not care where they come from. */
const stored = new Map<string, Credential>();

function createKey(accountId: string | null): string {
  const secret = makeApiKey(accountId === null ? 'operator_key' : 'account_key');
  const keyId = `key_${stored.size}`;
  stored.set(hashApiKey(secret), {
    principal:
      accountId === null
        ? { kind: 'operator_key', keyId, scopes: new Set(['admin'] as const) }
        : {
            kind: 'account_key',
            keyId,
            accountId,
            scopes: new Set(['generate'] as const),
            duplicateWindowSeconds: 0,
          },
    expiresAtMs: null,
    revoked: false,
  });
  return secret;
}

const credentials: Credentials = { findByHashes: () => Promise.resolve(stored) };

@Global()
@Module({
  providers: [
    { provide: CREDENTIALS, useValue: credentials },
    { provide: LEDGER_CLOCK, useExisting: CLOCK },
  ],
  exports: [CREDENTIALS, LEDGER_CLOCK],
})
class StoredKeysModule {}

@Controller()
class ProbeController {
  @Get('limited')
  @RequireScope('generate')
  @RateLimited(LIMIT)
  limited(): string {
    return 'limited';
  }
  @Get('free')
  @RequireScope('generate')
  free(): string {
    return 'not limited';
  }
  @Get('operators')
  @RequireScope('admin')
  @RateLimited(LIMIT)
  operators(): string {
    return 'for operators';
  }
}

async function startApp(overrides: Partial<Settings> = {}): Promise<NestFastifyApplication> {
  const settings = { ...readSettings({ NODE_ENV: 'test' }), ...overrides };
  @Module({
    imports: [ConfigModule.with(settings), CommonModule, StoredKeysModule, AuthModule, RateLimitsModule],
    controllers: [ProbeController],
  })
  class ProbeModule {}
  const adapter = new FastifyAdapter({ trustProxy: true });
  const app = await NestFactory.create<NestFastifyApplication>(ProbeModule, adapter, {
    logger: false,
    abortOnError: false,
  });
  app.useGlobalFilters(new ProblemFilter([]));
  await app.listen(0, '127.0.0.1');
  return app;
}

type Answer = { readonly status: number; readonly headers: Record<string, string>; readonly body: any };

/** @param address the client's, as a proxy reports it. */
async function ask(
  app: NestFastifyApplication,
  path: string,
  key: string,
  address = '203.0.113.9',
): Promise<Answer> {
  const headers = { authorization: `Bearer ${key}`, 'x-forwarded-for': address };
  const response = await fetch(new URL(path, await app.getUrl()), { headers });
  const text = await response.text();
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: response.ok ? text : JSON.parse(text),
  };
}

/** So many requests, some of them at the same time. */
const AT_ONCE = 25;

async function askTimes(
  times: number,
  app: NestFastifyApplication,
  path: string,
  key: string,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  while (answers.length < times) {
    const batch = Math.min(AT_ONCE, times - answers.length);
    answers.push(...(await Promise.all(Array.from({ length: batch }, () => ask(app, path, key)))));
  }
  return answers;
}

const statuses = (answers: readonly Answer[]): Record<string, number> =>
  answers.reduce<Record<string, number>>((counts, { status }) => {
    counts[status] = (counts[status] ?? 0) + 1;
    return counts;
  }, {});

describe('a limited route', () => {
  let app: NestFastifyApplication;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  it('lets a key make exactly its number of requests a minute, then answers 429 with the wait', async () => {
    const key = createKey('acct_exact');
    const answers = await askTimes(perKey + 50, app, '/limited', key);
    expect(statuses(answers)).toEqual({ 200: perKey, 429: 50 });
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.body).toEqual({
      error: {
        message: expect.stringMatching(/Nothing was charged/),
        type: 'rate_limit_error',
        param: null,
        code: 'rate_limit_exceeded',
        limit: `${LIMIT}-per-key`,
      },
    });
    const wait = Number(refused?.headers['retry-after']);
    expect(wait).toBeGreaterThanOrEqual(1);
    expect(wait).toBeLessThanOrEqual(60);
    expect(Number.isInteger(wait)).toBe(true);
    expect(refused?.headers).toMatchObject({
      'ratelimit-policy': `"${LIMIT}-per-key";q=${perKey};w=60, "${LIMIT}-per-account";q=${perAccount};w=60`,
      ratelimit: expect.stringMatching(
        new RegExp(`^"${LIMIT}-per-key";r=0;t=\\d+, "${LIMIT}-per-account";r=${perAccount - perKey};t=\\d+$`),
      ),
      'x-ratelimit-limit-requests': String(perKey),
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': expect.stringMatching(/^(\d+ms|\d+s|1m0s)$/),
    });
    // Other keys and other routes go on.
    expect((await ask(app, '/limited', createKey('acct_other'))).status).toBe(200);
    expect((await ask(app, '/free', key)).status).toBe(200);
  });

  it('says on every answer how much is left, of the key and of the account', async () => {
    const account = 'acct_headers';
    const [first, second] = [createKey(account), createKey(account)];
    await ask(app, '/limited', first);
    const answer = await ask(app, '/limited', second);
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'ratelimit-policy': `"${LIMIT}-per-key";q=${perKey};w=60, "${LIMIT}-per-account";q=${perAccount};w=60`,
      ratelimit: `"${LIMIT}-per-key";r=${perKey - 1};t=60, "${LIMIT}-per-account";r=${perAccount - 2};t=60`,
      'x-ratelimit-limit-requests': String(perKey),
      'x-ratelimit-remaining-requests': String(perKey - 1),
      'x-ratelimit-reset-requests': '1m0s',
    });
  });

  it('bounds an account whatever number of keys it makes, but one greedy key leaves the others theirs', async () => {
    const account = 'acct_many_keys';
    const greedy = await askTimes(perAccount * 2, app, '/limited', createKey(account));
    expect(statuses(greedy)).toEqual({ 200: perKey, 429: perAccount * 2 - perKey });
    const rest = perAccount - perKey;
    const modest = await Promise.all(
      Array.from({ length: 3 }, () => askTimes(rest / 2, app, '/limited', createKey(account))),
    );
    expect(statuses(modest.flat())).toEqual({ 200: rest, 429: rest / 2 });
    expect(modest.flat().find(({ status }) => status === 429)?.body.error.limit).toBe(`${LIMIT}-per-account`);
  });

  it('counts an operator key for itself: it belongs to no account', async () => {
    const answer = await ask(app, '/operators', createKey(null));
    expect(answer.status).toBe(200);
    expect(answer.headers['ratelimit-policy']).toBe(`"${LIMIT}-per-key";q=${perKey};w=60`);
  });

  it('counts nothing for a request that is not let in', async () => {
    const key = createKey('acct_wrong_scope');
    await askTimes(perKey, app, '/operators', key);
    expect((await ask(app, '/limited', key)).headers['x-ratelimit-remaining-requests']).toBe(
      String(perKey - 1),
    );
  });
});

describe('switched off', () => {
  it('nothing is counted, refused or announced', async () => {
    const app = await startApp({ rateLimit: false });
    const answers = await askTimes(perKey + 50, app, '/limited', createKey('acct_off'));
    expect(statuses(answers)).toEqual({ 200: perKey + 50 });
    expect(answers[0]?.headers).not.toHaveProperty('ratelimit');
    const bad = await askTimes(FAILED_AUTHENTICATIONS_MAX + 50, app, '/limited', 'bad');
    expect(statuses(bad)).toEqual({ 401: FAILED_AUTHENTICATIONS_MAX + 50 });
    await app.close();
  });
});

describe('an address that sends bad keys', () => {
  let app: NestFastifyApplication;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.close());

  it('has to wait after 300 a minute, while valid keys from there and all other callers are served', async () => {
    const working = createKey('acct_same_office');
    expect((await ask(app, '/free', working)).status).toBe(200);
    for (let index = 0; index < FAILED_AUTHENTICATIONS_MAX; index += 1) {
      // Malformed and unknown ones count alike.
      const bad = index % 2 === 0 ? `sk-cof-${index}` : makeApiKey('account_key');
      expect((await ask(app, '/free', bad)).status).toBe(401);
    }
    const refused = await ask(app, '/free', makeApiKey('account_key'));
    expect(refused.status).toBe(429);
    expect(refused.body.error).toMatchObject({
      code: 'rate_limit_exceeded',
      limit: 'failed-authentications-per-address',
    });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60);
    expect((await ask(app, '/free', 'sk-cof-malformed')).status).toBe(429);

    // What is known of the working key lapses: it is looked up again, and not held up.
    TestClock.takeOver(app.get<Clock & MonotonicClock>(CLOCK)).letPass(1_000);
    expect((await ask(app, '/free', working)).status).toBe(200);
    expect((await ask(app, '/free', 'bad', '203.0.113.10')).status).toBe(401);
  });

  it('never locks out a good key that this process has not seen yet: only bad ones have to wait', async () => {
    const address = '203.0.113.77';
    const known = makeApiKey('account_key');
    expect((await ask(app, '/free', known, address)).status).toBe(401);
    // A client that goes on with a revoked key is such an address as well.
    const revoked = createKey('acct_revoked');
    stored.set(hashApiKey(revoked), { ...stored.get(hashApiKey(revoked))!, revoked: true });
    for (let index = 0; index < FAILED_AUTHENTICATIONS_MAX; index += 1)
      await ask(app, '/free', revoked, address);
    for (const bad of [revoked, known, makeApiKey('account_key'), 'sk-cof-malformed', 'x'.repeat(300)]) {
      expect((await ask(app, '/free', bad, address)).status).toBe(429);
    }
    for (const kind of ['acct_new', 'acct_newer']) {
      expect((await ask(app, '/free', createKey(kind), address)).status).toBe(200);
    }
    expect((await ask(app, '/operators', createKey(null), address)).status).toBe(200);
    expect((await ask(app, '/free', makeApiKey('account_key'), address)).status).toBe(429);
  });

  it('is its whole /64 when it is an IPv6 address, and the same address however it is written', () => {
    const same = [
      '2001:db8:0:1::1',
      '2001:DB8::1:ffff:0:0:2',
      '2001:0db8:0000:0001:abcd::',
      '2001:db8:0:1::1%eth0',
    ];
    expect(new Set(same.map(addressGroup))).toEqual(new Set(['2001:db8:0:1::/64']));
    expect(addressGroup('2001:db8:0:2::1')).toBe('2001:db8:0:2::/64');
    expect(addressGroup('::1')).toBe('0:0:0:0::/64');
    expect(addressGroup('::ffff:203.0.113.9')).toBe('203.0.113.9');
    expect(addressGroup('203.0.113.9')).toBe('203.0.113.9');
  });
});

describe('with a Redis', () => {
  it('that was never there changes nothing: the service starts and counts', async () => {
    const app = await startApp({ redisUrl: 'redis://127.0.0.1:9' });
    const answer = await ask(app, '/limited', createKey('acct_no_redis'));
    expect(answer.status).toBe(200);
    expect(answer.headers['x-ratelimit-remaining-requests']).toBe(String(perKey - 1));
    await app.close();
  });
});
