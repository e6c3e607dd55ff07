import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectBooksToBalance } from '../fixtures/books.js';
import { generate, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import type { TestAnswer, TestClient } from '../support/app/test-client.js';
import { checkProperty } from '../support/property.js';

const SCOPES = ['generate', 'wallet:read', 'keys:write'] as const;
const SPENDING: readonly string[] = ['generate', 'keys:write'];

/** What a request asks for; keys are chosen by number among those that were made so far. */
type Step =
  | {
      readonly do: 'make';
      by: number;
      scopes: readonly string[];
      limit: number | null;
      lifeHours: number | null;
    }
  | { readonly do: 'limit'; by: number | 'operator'; key: number; images: number | null }
  | { readonly do: 'revoke'; by: number; key: number; descendants: boolean | null }
  | { readonly do: 'spend'; by: number }
  | { readonly do: 'wait'; hours: number };

const aKey = fc.nat({ max: 30 });
const aLimit = fc.option(fc.integer({ min: 1, max: 3 }), { nil: null });
const someScopes = fc.oneof(
  { weight: 2, arbitrary: fc.subarray([...SCOPES], { minLength: 1 }) },
  { weight: 1, arbitrary: fc.constant(['keys:write']) },
);
const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('make' as const),
      by: aKey,
      scopes: someScopes,
      limit: aLimit,
      lifeHours: fc.option(fc.integer({ min: 1, max: 9 }), { nil: null }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('limit' as const),
      by: fc.oneof(aKey, aKey, fc.constant('operator' as const)),
      key: aKey,
      images: aLimit,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('revoke' as const),
      by: aKey,
      key: aKey,
      descendants: fc.option(fc.boolean(), { nil: null }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('spend' as const), by: aKey }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('wait' as const), hours: fc.integer({ min: 1, max: 6 }) }),
  },
);

/** A key as a customer sees it, and what was seen of it. */
type Key = {
  readonly id: string;
  readonly client: TestClient;
  readonly parent: Key | null;
  readonly scopes: readonly string[];
  readonly endsAtMs: number | null;
  revoked: boolean;
  /** Images; null: no limit. */
  limit: number | null;
  spent: number;
  /** What it and its descendants may spend from when its limit was set or lowered: the most that was left then. */
  left: number | null;
};

let app: SharedApp;
beforeAll(async () => {
  app = await sharedApp();
});
afterAll(async () => {
  app.clock.reset();
  await expectBooksToBalance(app.dataSource);
});

/** The key and all keys that it descends from. */
const lineOf = (key: Key): Key[] => [key, ...(key.parent === null ? [] : lineOf(key.parent))];

/** One account, whatever its keys ask for, and what must never be seen of it. */
class Walk {
  readonly keys: Key[] = [];

  constructor(private readonly accountId: string) {}

  async take(step: Step): Promise<void> {
    if (step.do === 'wait') return app.clock.letPass(step.hours * 3_600_000);
    if (step.do === 'make') return this.make(this.key(step.by), step);
    if (step.do === 'limit') {
      return this.limit(step.by === 'operator' ? null : this.key(step.by), this.key(step.key), step.images);
    }
    if (step.do === 'spend') return this.spend(this.key(step.by));
    return this.revoke(this.key(step.by), this.key(step.key), step.descendants);
  }

  private async revoke(by: Key, key: Key, descendants: boolean | null): Promise<void> {
    const query = descendants === null ? '' : `?with_descendants=${descendants}`;
    const answer = await by.client.delete(`/v1/api_keys/${key.id}${query}`);
    if (answer.status !== 200) return;
    key.revoked = true;
    if (descendants === false) return;
    for (const other of this.keys) if (lineOf(other).includes(key)) other.revoked = true;
    // Nobody ends itself with its line without saying so.
    if (descendants === null && by !== key) expect(by.revoked).toBe(false);
  }

  private key(chosen: number): Key {
    return this.keys[chosen % this.keys.length] as Key;
  }

  async make(
    by: Key | null,
    { scopes, limit, lifeHours }: Omit<Step & { do: 'make' }, 'by' | 'do'>,
  ): Promise<void> {
    const path = by === null ? `/v1/accounts/${this.accountId}/api_keys` : '/v1/api_keys';
    const endsAt = lifeHours === null ? null : Math.trunc(app.clock.nowMs() / 1_000) + lifeHours * 3_600;
    const answer = await (by?.client ?? app.operator).post(path, {
      name: 'walked',
      scopes,
      expires_at: endsAt,
      spend_limits: limit === null ? null : { total_micros: micros(limit) },
    });
    if (answer.status !== 201) return;
    const { id, secret } = answer.body;
    const endsAtMs = endsAt === null ? null : endsAt * 1_000;
    this.keys.push({
      id,
      client: app.client(secret),
      parent: by,
      scopes,
      endsAtMs,
      revoked: false,
      limit,
      spent: 0,
      left: limit,
    });
    if (by === null) return;
    this.expectAlive(by);
    expect(by.scopes).toEqual(expect.arrayContaining([...scopes, 'keys:write']));
    if (by.endsAtMs !== null) expect(endsAtMs ?? Infinity).toBeLessThanOrEqual(by.endsAtMs);
    if (scopes.some((scope) => SPENDING.includes(scope))) expect(lineOf(by).every(isUnlimited)).toBe(true);
  }

  private async limit(by: Key | null, key: Key, images: number | null): Promise<void> {
    const body = { spend_limits: images === null ? null : { total_micros: micros(images) } };
    const path = by === null ? `/v1/accounts/${this.accountId}/api_keys/${key.id}` : `/v1/api_keys/${key.id}`;
    const answer = await (by?.client ?? app.operator).send('PATCH', path, { body });
    if (answer.status !== 200) return;
    if (by !== null) {
      this.expectAlive(by);
      // Nobody frees itself, or another key, from under a limit.
      expect(lineOf(by).every(isUnlimited)).toBe(true);
      if (key.limit !== null && (images === null || images > key.limit))
        expect(by.scopes).toContain('generate');
    }
    key.limit = images;
    key.left = images === null ? null : Math.max(0, images - key.spent);
  }

  private async spend(key: Key): Promise<void> {
    const answer = await generate(key);
    if (answer.status !== 200) return;
    this.expectAlive(key);
    expect(key.scopes).toContain('generate');
    key.spent += 1;
    for (const limited of lineOf(key)) {
      if (limited.left === null) continue;
      limited.left -= 1;
      expect(limited.left).toBeGreaterThanOrEqual(0);
    }
  }

  private expectAlive(key: Key): void {
    expect(key.revoked).toBe(false);
    expect(key.endsAtMs === null || app.clock.nowMs() < key.endsAtMs).toBe(true);
  }

  /** What was seen is what the ledger has: no key spent otherwise. */
  async expectSpentAsSeen(): Promise<void> {
    const rows = await app.dataSource.query<{ key_id: string; images: string }[]>(
      `SELECT key_id, sum(captured_micros) / $2 AS images FROM holds WHERE account_id = $1 AND captured_micros > 0 GROUP BY 1`,
      [this.accountId, String(PRICE_MICROS)],
    );
    const spent = this.keys.filter((key) => key.spent > 0).map((key) => [key.id, key.spent]);
    expect(Object.fromEntries(rows.map((row) => [row.key_id, Number(row.images)]))).toEqual(
      Object.fromEntries(spent),
    );
  }
}

const isUnlimited = (key: Key): boolean => key.limit === null;
const micros = (images: number): string => String(BigInt(images) * PRICE_MICROS);
const ALL = { scopes: SCOPES, limit: null, lifeHours: null };

describe('any chain of requests to make, limit, revoke and use keys', () => {
  it('never lets a key, or all that descend from it, do or spend more than it was allowed', async () => {
    await checkProperty(
      'key policy',
      fc.asyncProperty(fc.array(aStep, { minLength: 15, maxLength: 40 }), async (steps) => {
        app = await sharedApp();
        const customer = await app.createCustomer({ grantMicros: 1_000n * PRICE_MICROS });
        const walk = new Walk(customer.accountId);
        await walk.make(null, ALL);
        await walk.make(null, { ...ALL, limit: 2 });
        for (const step of steps) await walk.take(step);
        await walk.expectSpentAsSeen();
      }),
      { runs: 100 },
    );
  });
});

describe('a spend limit that is set while its key makes others', () => {
  it('leaves no key behind that spends without it, in any process', async () => {
    const twin = await sharedTwin();
    const outcomes = new Set<string>();
    for (let round = 0; round < 12; round += 1) {
      const customer = await app.createCustomer();
      const path = `/v1/accounts/${customer.accountId}/api_keys`;
      const { id, secret } = (await app.operator.post(path, { name: 'maker', scopes: SCOPES })).expect(
        201,
      ).body;
      const limit = { body: { spend_limits: { total_micros: micros(1) } } };
      const [limited, ...made] = await Promise.all([
        app.operator.send('PATCH', `${path}/${id}`, limit),
        ...[app, twin, twin].map((service) =>
          service.client(secret).post('/v1/api_keys', { name: 'child', scopes: ['keys:write'] }),
        ),
      ]);
      const children = made.filter(({ status }) => status === 201).length;
      outcomes.add(`${limited.status} ${children > 0 ? 'some' : 'none'}`);
      if (limited.status === 409) {
        expect(limited.body.error).toMatchObject({ code: 'key_has_descendants' });
        // Not every one of them need have been there when the limit was refused.
        const isNamed = ({ status, body }: TestAnswer): boolean =>
          status === 201 && String(limited.body.error.message).includes(String(body.id));
        expect(made.some(isNamed)).toBe(true);
      } else {
        limited.expect(200);
        expect(made.map(({ status, body }) => [status, body.error?.code])).toEqual(
          made.map(() => [403, 'key_is_limited']),
        );
      }
    }
    expect([...outcomes].filter((outcome) => !['409 some', '200 none'].includes(outcome))).toEqual([]);
  });
});
