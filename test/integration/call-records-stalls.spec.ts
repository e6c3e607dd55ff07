import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { LEASE_MS } from '../../src/gateway/images/calls/records/generation-records.service.js';
import type { Generation } from '../../src/gateway/images/calls/records/generation.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  ADD_FREE_PRICE,
  begin,
  fail,
  finish,
  freeGeneration,
  rowsOf,
  startRecords,
  type Process,
} from '../fixtures/call-records.js';
import { CleanUp } from '../support/clean-up.js';
import { createAccount } from '../support/database/engine.js';
import { MutableProxy } from '../support/database/mutable-proxy.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';
import { eventually } from '../support/processes.js';

describe('the records of calls', () => {
  let database: TestDatabase;
  let first: Process;
  let second: Process;
  let accountId: string;
  beforeAll(async () => {
    database = await createTestDatabase();
    first = await startRecords(database.serviceUrl);
    second = await startRecords(database.serviceUrl);
    accountId = await createAccount(first.dataSource);
    await first.dataSource.query(ADD_FREE_PRICE);
  });

  afterEach(() => expectBooksToBalance(first.dataSource));

  afterAll(async () => {
    await first.dataSource.destroy();
    await second.dataSource.destroy();
    await database.drop();
  });

  const newGeneration = (facts: Partial<Generation> = {}): Generation => freeGeneration(accountId, facts);
  const many = (count: number): Generation[] => Array.from({ length: count }, () => newGeneration());

  const statusesOf = async (...generations: Generation[]): Promise<string[]> =>
    (await rowsOf(second, generations)).map(({ status }) => status);

  it('are written over another connection when theirs is ended in the middle', async () => {
    const generations = many(5);
    const keyed = many(3).map((generation) => ({ ...generation, idempotencyKey: `ended-${generation.id}` }));
    await Promise.all(generations.map((generation) => begin(first, generation)));
    const busy = await busyConnection();
    const claims = Promise.all(keyed.map((generation) => first.records.claim(generation)));
    const writes = Promise.all(generations.map((generation) => finish(first, generation)));
    const owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    await owner.query('SELECT pg_terminate_backend($1)', [busy]);
    await owner.destroy();
    expect(await claims).toEqual([true, true, true]);
    await writes;
    expect(await statusesOf(...generations)).toEqual(generations.map(() => 'succeeded'));
    await Promise.all(keyed.map((generation) => fail(first, generation)));
  });

  /** The one over which `first` has written last. */
  async function busyConnection(): Promise<number> {
    const [row] = await second.dataSource.query<{ pid: number }[]>(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%INSERT INTO generations%'
        AND pid <> pg_backend_pid() ORDER BY state_change DESC LIMIT 1`,
    );
    return row?.pid ?? Number.NaN;
  }

  it('are not held up by a call whose row is locked', async () => {
    const [locked, ...others] = many(6) as [Generation, ...Generation[]];
    await begin(first, locked);
    const lock = second.dataSource.createQueryRunner();
    await lock.startTransaction();
    await lock.query('SELECT FROM generations WHERE id = $1 FOR UPDATE', [locked.id]);
    let isOver = false;
    const blocked = finish(first, locked).then(() => (isOver = true));
    await eventually('its batch waits', async () => {
      const sql = `SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()`;
      return (await second.dataSource.query<unknown[]>(sql)).length > 0;
    });
    await Promise.all(others.map((generation) => begin(first, generation)));
    await Promise.all(others.map((generation) => finish(first, generation)));
    expect(isOver).toBe(false);
    await lock.rollbackTransaction();
    await lock.release();
    await blocked;
    expect(await statusesOf(locked, ...others)).toEqual([locked, ...others].map(() => 'succeeded'));
  });

  describe('over a connection that is open and silent', () => {
    const cleanUp = new CleanUp();
    let proxy: MutableProxy;
    let proxied: Process;
    beforeEach(async () => {
      proxy = await MutableProxy.start(database.serviceUrl, cleanUp);
      proxied = await startRecords(proxy.url);
      cleanUp.add(() => proxied.dataSource.destroy());
    });
    afterEach(() => cleanUp.run());

    it.each([
      ['never reaches the server', 'mute'],
      ['is committed, and its answer is lost', 'muteAnswers'],
    ] as const)(
      'are written over another one, each once and in order: what was sent %s',
      async (_, silence) => {
        const [begun, other] = many(2) as [Generation, Generation];
        const keyed = newGeneration({ idempotencyKey: `silent-${silence}` });
        const copy = newGeneration({ idempotencyKey: `silent-${silence}` });
        await begin(proxied, begun);
        proxy[silence]();
        const claim = proxied.records.claim(keyed);
        const writes = [
          finish(proxied, begun),
          begin(proxied, begun),
          begin(proxied, other),
          finish(proxied, other),
        ];
        expect(await claim).toBe(true);
        expect(await proxied.records.claim(copy)).toBe(false);
        expect(await Promise.all(writes)).toEqual([undefined, false, true, undefined]);
        expect(await statusesOf(begun, other, keyed)).toEqual(['succeeded', 'succeeded', 'running']);
        expect(await rowsOf(second, [copy])).toEqual([]);
        await fail(proxied, keyed);
      },
    );

    it('change nothing when the server runs late what was repeated', async () => {
      const [alive, ended] = many(2) as [Generation, Generation];
      const keyed = newGeneration({ idempotencyKey: 'late' });
      const before = newGeneration();
      await begin(proxied, before);
      proxy.mute();
      const claim = proxied.records.claim(keyed);
      await Promise.all([begin(proxied, alive), begin(proxied, ended), finish(proxied, before)]);
      expect(await claim).toBe(true);
      await Promise.all([finish(proxied, ended), finish(proxied, keyed)]);
      const renewedAtMs = Date.now() + 60_000;
      await second.records.renewLeases([alive], renewedAtMs);
      const [row] = await rowsOf(second, [alive]);
      proxy.deliverLate();
      await eventually(
        'the late batch is committed',
        async () => (await rowsOf(second, [alive]))[0]?.xmin !== row?.xmin,
      );
      expect(await statusesOf(alive, ended, keyed, before)).toEqual([
        ...['running', 'succeeded', 'succeeded', 'succeeded'],
      ]);
      const [lease] = await second.dataSource.query<{ expires: Date }[]>(
        'SELECT lease_expires_at AS expires FROM generations WHERE id = $1',
        [alive.id],
      );
      expect(lease?.expires.getTime()).toBe(renewedAtMs + LEASE_MS);
      await fail(proxied, alive);
    });
  });
});
