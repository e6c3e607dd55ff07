import { expect } from '@jest/globals';
import fc from 'fast-check';
import {
  ACCOUNT_SCOPES,
  OPERATOR_SCOPES,
  type AccountScope,
  type OperatorScope,
} from '../../../src/identity/auth/principal.js';
import { DAY_MS } from '../../../src/platform/common/clock.js';
import { generate, PRICE_MICROS } from '../../fixtures/images.js';
import type { TestApp } from '../app/test-app.js';
import type { TestClient } from '../app/test-client.js';
import { OPT_IN } from '../payments/auto-top-up.js';

/* Random requests to make, limit, change, revoke and use keys, and what must never be seen of them. */

const SPENDING: readonly string[] = ['generate', 'keys:write'];

/** Who asks, by number among the account's keys, or among the operators', that were made so far. */
type Asker = { readonly kind: 'key' | 'operator'; readonly number: number };
/** Images; null: no limit. */
type Limits = { readonly day: number | null; readonly total: number | null };

/** What a request asks for. */
export type Step =
  | {
      readonly do: 'make';
      by: Asker;
      scopes: readonly AccountScope[];
      limits: Limits;
      lifeHours: number | null;
      window: number;
    }
  | { readonly do: 'make operator'; by: Asker; scopes: readonly OperatorScope[]; lifeHours: number | null }
  | { readonly do: 'limit'; by: Asker; key: number; limits: Limits }
  | { readonly do: 'change window'; by: Asker; key: number; seconds: number }
  | { readonly do: 'revoke'; by: number; key: number; descendants: boolean | null }
  | { readonly do: 'revoke operator'; by: Asker; operator: number }
  | { readonly do: 'spend'; by: number }
  | { readonly do: 'use'; by: Asker; right: keyof typeof USES };

/** What shows whether a key has a right, and all scopes that it takes. */
const USES = {
  'read the wallet': {
    scopes: ['wallet:read'],
    ask: (client: TestClient) => client.get('/v1/wallet'),
  },
  'change the alerts': {
    scopes: ['wallet:write'],
    ask: (client: TestClient) => client.send('PUT', '/v1/wallet/alerts', { body: { email: null } }),
  },
  'have a card charged': {
    scopes: ['wallet:write', 'cards:charge'],
    ask: (client: TestClient) => client.send('PUT', '/v1/auto_top_up', { body: OPT_IN }),
  },
  'read the audit log': {
    scopes: ['finance'],
    ask: (client: TestClient) => client.get('/v1/audit_log'),
  },
  'debit an account': {
    scopes: ['debits'],
    ask: (client: TestClient) => client.post('/v1/debits', {}),
  },
  'make accounts': {
    scopes: ['admin'],
    ask: (client: TestClient) => client.post('/v1/accounts', {}),
  },
} as const;

const aKey = fc.nat({ max: 30 });
const byKey = fc.record({ kind: fc.constant('key' as const), number: aKey });
const byOperator = fc.record({ kind: fc.constant('operator' as const), number: fc.nat({ max: 5 }) });
const byAny: fc.Arbitrary<Asker> = fc.oneof(
  { weight: 3, arbitrary: byKey },
  { weight: 1, arbitrary: byOperator },
);
const aNumber = fc.option(fc.integer({ min: 1, max: 3 }), { nil: null });
const someLimits = fc.oneof(
  fc.constant({ day: null, total: null }),
  fc.record({ day: fc.constant(null), total: aNumber }),
  fc.record({ day: aNumber, total: aNumber }),
);
const aLife = fc.option(fc.integer({ min: 1, max: 30 }), { nil: null });
const aWindow = fc.constantFrom(0, 0, 0, 30);
const someScopes = fc.oneof(
  { weight: 2, arbitrary: fc.subarray([...ACCOUNT_SCOPES], { minLength: 1 }) },
  { weight: 1, arbitrary: fc.constant<AccountScope[]>(['keys:write']) },
);
const step = <T extends Step['do']>(name: T) => fc.constant(name);
export const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: step('make'),
      by: byAny,
      scopes: someScopes,
      limits: someLimits,
      lifeHours: aLife,
      window: aWindow,
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: step('limit'), by: byAny, key: aKey, limits: someLimits }) },
  { weight: 2, arbitrary: fc.record({ do: step('change window'), by: byAny, key: aKey, seconds: aWindow }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: step('revoke'),
      by: aKey,
      key: aKey,
      descendants: fc.option(fc.boolean(), { nil: null }),
    }),
  },
  {
    // Few: a platform may make no more than a thousand in a day.
    weight: 1,
    arbitrary: fc.record({
      do: step('make operator'),
      by: byAny,
      scopes: fc.subarray([...OPERATOR_SCOPES], { minLength: 1 }),
      lifeHours: aLife,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: step('revoke operator'), by: byAny, operator: fc.nat({ max: 5 }) }),
  },
  { weight: 10, arbitrary: fc.record({ do: step('spend'), by: aKey }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: step('use'),
      by: byAny,
      right: fc.constantFrom(...(Object.keys(USES) as (keyof typeof USES)[])),
    }),
  },
);

/** What passes between two requests: mostly no time. */
export const someHours = fc.oneof(
  { weight: 38, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 12 }) },
);

/** What holds of every key, and was seen of it. */
type AnyKey = {
  readonly id: string;
  readonly client: TestClient;
  readonly scopes: readonly string[];
  readonly endsAtMs: number | null;
  revoked: boolean;
};
type OperatorKey = AnyKey & { readonly kind: 'operator'; readonly parent: OperatorKey | null };
/** Of the account. */
type Key = AnyKey & {
  readonly kind: 'key';
  readonly parent: Key | null;
  limits: Limits;
  window: number;
  /** Images, by the day on which they were made. */
  readonly spentOn: Map<number, number>;
  /** What it and its descendants may spend from when its limits were set: the most that was left then. */
  leftOfTotal: number | null;
  leftOfDay: { day: number; images: number } | null;
};

/** The key and all keys that it descends from. */
const lineOf = (key: Key): Key[] => [key, ...(key.parent === null ? [] : lineOf(key.parent))];
const isUnlimited = ({ limits }: Key): boolean => limits.day === null && limits.total === null;
const spentOf = ({ spentOn }: Key): number => [...spentOn.values()].reduce((sum, images) => sum + images, 0);
const isMore = (before: number | null, after: number | null): boolean =>
  before !== null && (after === null || after > before);
/** One account, whatever its keys and the operators' ask for, and what must never be seen of it. */
export class KeyWalk {
  readonly keys: Key[] = [];
  private readonly operators: OperatorKey[];

  constructor(
    private readonly app: TestApp,
    private readonly accountId: string,
  ) {
    const { operator: client } = app;
    this.operators = [{ ...NO_KEY, kind: 'operator', client, parent: null, scopes: OPERATOR_SCOPES }];
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case 'make':
        return this.make(this.asker(step.by), step);
      case 'make operator':
        return this.makeOperator(this.asker(step.by), step);
      case 'limit':
        return this.limit(this.asker(step.by), this.key(step.key), step.limits);
      case 'change window':
        return this.changeWindow(this.asker(step.by), this.key(step.key), step.seconds);
      case 'spend':
        return this.spend(this.key(step.by));
      case 'use':
        return this.use(this.asker(step.by), USES[step.right]);
      case 'revoke':
        return this.revoke(this.key(step.by), this.key(step.key), step.descendants);
      case 'revoke operator':
        return this.revokeOperator(this.asker(step.by), this.operator(step.operator));
    }
  }

  private key(number: number): Key {
    return this.keys[number % this.keys.length] as Key;
  }

  private operator(number: number): OperatorKey {
    return this.operators[number % this.operators.length] as OperatorKey;
  }

  private asker({ kind, number }: Asker): Key | OperatorKey {
    return kind === 'key' ? this.key(number) : this.operator(number);
  }

  private pathOfKeys(by: Key | OperatorKey): string {
    return by.kind === 'key' ? '/v1/api_keys' : `/v1/accounts/${this.accountId}/api_keys`;
  }

  async makeRoot(limits: Limits): Promise<void> {
    const wanted = { scopes: ACCOUNT_SCOPES, limits, lifeHours: null, window: 0 };
    await this.make(this.operator(0), wanted);
  }

  private async make(
    by: Key | OperatorKey,
    { scopes, limits, lifeHours, window }: Omit<Step & { do: 'make' }, 'by' | 'do'>,
  ): Promise<void> {
    const endsAt = this.endOf(lifeHours);
    const answer = await by.client.post(this.pathOfKeys(by), {
      name: 'walked',
      scopes,
      expires_at: endsAt,
      spend_limits: bodyOf(limits),
      duplicate_window_seconds: window,
    });
    if (answer.status !== 201) return;
    const { id, secret } = answer.body;
    const parent = by.kind === 'key' ? by : null;
    const endsAtMs = endsAt === null ? null : endsAt * 1_000;
    const client = this.app.client(secret);
    const made = { kind: 'key', id, client, parent, scopes, endsAtMs, revoked: false, window } as const;
    const key: Key = { ...made, limits, spentOn: new Map(), leftOfTotal: null, leftOfDay: null };
    this.keys.push(key);
    setLimits(key, limits, this.today());
    expect(this.isAlive(by)).toBe(true);
    if (parent === null) return expect(by.scopes).toContain('admin');
    expect(parent.scopes).toEqual(expect.arrayContaining([...scopes, 'keys:write']));
    expectToEndWith(parent, endsAtMs);
    if (scopes.some((scope) => SPENDING.includes(scope)))
      expect(lineOf(parent).every(isUnlimited)).toBe(true);
  }

  private async makeOperator(
    by: Key | OperatorKey,
    { scopes, lifeHours }: Omit<Step & { do: 'make operator' }, 'by' | 'do'>,
  ): Promise<void> {
    const endsAt = this.endOf(lifeHours);
    const wanted = { name: 'walked', scopes, expires_at: endsAt };
    const answer = await by.client.post('/v1/operator_keys', wanted);
    if (answer.status !== 201) return;
    // No key of an account makes one.
    if (by.kind === 'key') return expect(by.kind).toBe('operator');
    const { id, secret } = answer.body;
    const endsAtMs = endsAt === null ? null : endsAt * 1_000;
    const made = { kind: 'operator', id, client: this.app.client(secret), parent: by } as const;
    this.operators.push({ ...made, scopes, endsAtMs, revoked: false });
    expect(this.isAlive(by)).toBe(true);
    expect(by.scopes).toEqual(expect.arrayContaining([...scopes, 'admin']));
    expectToEndWith(by, endsAtMs);
  }

  private async limit(by: Key | OperatorKey, key: Key, limits: Limits): Promise<void> {
    const body = { spend_limits: bodyOf(limits) };
    const answer = await by.client.send('PATCH', `${this.pathOfKeys(by)}/${key.id}`, { body });
    if (answer.status !== 200) return;
    expect(this.isAlive(by)).toBe(true);
    expect(by.scopes).toContain(by.kind === 'key' ? 'keys:write' : 'admin');
    if (by.kind === 'key') {
      // No key frees itself, or another key, from under a limit.
      expect(lineOf(by).every(isUnlimited)).toBe(true);
      const { day, total } = key.limits;
      if (isMore(day, limits.day) || isMore(total, limits.total)) expect(by.scopes).toContain('generate');
    }
    setLimits(key, limits, this.today());
  }

  private async changeWindow(by: Key | OperatorKey, key: Key, seconds: number): Promise<void> {
    const body = { duplicate_window_seconds: seconds };
    const answer = await by.client.send('PATCH', `${this.pathOfKeys(by)}/${key.id}`, { body });
    if (answer.status !== 200) return;
    expect(this.isAlive(by)).toBe(true);
    expect(by.scopes).toContain(by.kind === 'key' ? 'keys:write' : 'admin');
    if (by.kind === 'key') expect(lineOf(by).every(isUnlimited)).toBe(true);
    key.window = seconds;
  }

  private async spend(key: Key): Promise<void> {
    const answer = await generate(key);
    if (answer.status !== 200) return;
    expect(this.isAlive(key)).toBe(true);
    expect(key.scopes).toContain('generate');
    if (answer.headers.get('idempotent-replayed') === 'true') return expect(key.window).toBeGreaterThan(0);
    const day = this.today();
    key.spentOn.set(day, (key.spentOn.get(day) ?? 0) + 1);
    for (const limited of lineOf(key)) {
      if (limited.leftOfTotal !== null) limited.leftOfTotal -= 1;
      expect(limited.leftOfTotal ?? 0).toBeGreaterThanOrEqual(0);
      if (limited.limits.day === null) continue;
      if (limited.leftOfDay?.day !== day) limited.leftOfDay = { day, images: limited.limits.day };
      limited.leftOfDay.images -= 1;
      expect(limited.leftOfDay.images).toBeGreaterThanOrEqual(0);
    }
  }

  /** A key is let in wherever it has all scopes, and nowhere else. */
  private async use(by: Key | OperatorKey, { scopes, ask }: (typeof USES)[keyof typeof USES]): Promise<void> {
    const { status } = await ask(by.client);
    // Refused keys have a limit of their own.
    if (status === 429) return;
    const isAllowed = this.isAlive(by) && scopes.every((scope) => by.scopes.includes(scope));
    expect([scopes, status === 401 || status === 403]).toEqual([scopes, !isAllowed]);
  }

  private async revoke(by: Key, key: Key, descendants: boolean | null): Promise<void> {
    const query = descendants === null ? '' : `?with_descendants=${descendants}`;
    const answer = await by.client.delete(`/v1/api_keys/${key.id}${query}`);
    if (answer.status !== 200) return;
    key.revoked = true;
    if (descendants === false) return;
    for (const other of this.keys) if (lineOf(other).includes(key)) other.revoked = true;
    // No key ends itself with its line without saying so.
    if (descendants === null && by !== key) expect(by.revoked).toBe(false);
  }

  /** With its descendants, but for the keys that they made for accounts. */
  private async revokeOperator(by: Key | OperatorKey, operator: OperatorKey): Promise<void> {
    const path = `/v1/operator_keys/${operator.id}?with_descendants=true`;
    const answer = await by.client.delete(path);
    if (answer.status !== 200) return;
    expect(this.isAlive(by)).toBe(true);
    expect(by.scopes).toContain('admin');
    for (const other of this.operators) {
      for (let at: OperatorKey | null = other; at !== null; at = at.parent)
        if (at === operator) other.revoked = true;
    }
  }

  private isAlive({ revoked, endsAtMs }: AnyKey): boolean {
    return !revoked && (endsAtMs === null || this.app.clock.nowMs() < endsAtMs);
  }

  private today(): number {
    return Math.floor(this.app.clock.nowMs() / DAY_MS);
  }

  private endOf(lifeHours: number | null): number | null {
    return lifeHours === null ? null : Math.trunc(this.app.clock.nowMs() / 1_000) + lifeHours * 3_600;
  }

  /** What was seen is what the ledger has: no key spent otherwise. */
  async expectSpentAsSeen(): Promise<void> {
    const rows = await this.app.dataSource.query<{ key_id: string; images: string }[]>(
      `SELECT key_id, sum(captured_micros) / $2 AS images FROM holds WHERE account_id = $1 AND captured_micros > 0 GROUP BY 1`,
      [this.accountId, String(PRICE_MICROS)],
    );
    const spent = this.keys.filter((key) => spentOf(key) > 0).map((key) => [key.id, spentOf(key)]);
    expect(Object.fromEntries(rows.map((row) => [row.key_id, Number(row.images)]))).toEqual(
      Object.fromEntries(spent),
    );
  }
}

function setLimits(key: Key, limits: Limits, day: number): void {
  const left = (limit: number, spent: number): number => Math.max(0, limit - spent);
  key.limits = limits;
  key.leftOfTotal = limits.total === null ? null : left(limits.total, spentOf(key));
  key.leftOfDay = limits.day === null ? null : { day, images: left(limits.day, key.spentOn.get(day) ?? 0) };
}

function expectToEndWith({ endsAtMs }: AnyKey, childEndsAtMs: number | null): void {
  if (endsAtMs !== null) expect(childEndsAtMs ?? Infinity).toBeLessThanOrEqual(endsAtMs);
}

function bodyOf({ day, total }: Limits): object | null {
  if (day === null && total === null) return null;
  return { day_micros: day && inMicros(day), total_micros: total && inMicros(total) };
}

export const inMicros = (images: number): string => String(BigInt(images) * PRICE_MICROS);
/** The operator key of the environment. */
const NO_KEY = { id: 'none', endsAtMs: null, revoked: false };
export const UNLIMITED = { day: null, total: null };
