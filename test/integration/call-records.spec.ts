import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource, type QueryRunner } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { isUnavailable } from '../../src/platform/database/constraints.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';
import { GenerationRecordsService } from '../../src/gateway/images/calls/records/generation-records.service.js';
import type { Generation } from '../../src/gateway/images/calls/records/generation.js';
import { RecordQueueService } from '../../src/gateway/images/calls/records/record-queue.service.js';
import { DatabaseUnavailableError } from '../../src/platform/errors/common.errors.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  ADD_FREE_PRICE,
  begin,
  fail,
  finish,
  freeGeneration,
  lose,
  rowsOf,
  startRecords,
  task,
  type Process,
} from '../fixtures/call-records.js';
import { createAccount } from '../support/database/engine.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';
import { eventually } from '../support/processes.js';

describe('the records of calls that are written at the same time', () => {
  let database: TestDatabase;
  let first: Process;
  let second: Process;
  let accountId: string;
  beforeAll(async () => {
    database = await createTestDatabase();
    first = await startProcess();
    second = await startProcess();
    accountId = await createAccount(first.dataSource);
    await first.dataSource.query(ADD_FREE_PRICE);
  });

  afterEach(() => expectBooksToBalance(first.dataSource));

  afterAll(async () => {
    await first.dataSource.destroy();
    await second.dataSource.destroy();
    await database.drop();
  });

  const startProcess = (lockTimeoutMs?: number): Promise<Process> =>
    startRecords(database.serviceUrl, lockTimeoutMs);
  const newGeneration = (facts: Partial<Generation> = {}): Generation => freeGeneration(accountId, facts);
  const many = (count: number): Generation[] => Array.from({ length: count }, () => newGeneration());

  const statusesOf = async (...generations: Generation[]): Promise<string[]> =>
    (await rowsOf(second, generations)).map(({ status }) => status);

  const transactionsOf = async (generations: readonly Generation[]): Promise<number> =>
    new Set((await rowsOf(second, generations)).map(({ xmin }) => xmin)).size;

  const outcomeOf = async (write: Promise<unknown>): Promise<unknown> =>
    write.catch((error: unknown) => error);

  /** Locks the rows until `release`, as nothing of ours does: an operator at a prompt. */
  async function lockRows(
    ...generations: Generation[]
  ): Promise<{ runner: QueryRunner; release(): Promise<void> }> {
    const runner = second.dataSource.createQueryRunner();
    await runner.startTransaction();
    await runner.query('SELECT FROM generations WHERE id = ANY($1) FOR UPDATE', [
      generations.map(({ id }) => id),
    ]);
    const release = async (): Promise<void> => {
      await runner.rollbackTransaction();
      await runner.release();
    };
    return { runner, release };
  }

  /** Answers the backend that waits for a lock. */
  async function untilOneWaits(): Promise<number> {
    let pid: number | undefined;
    await eventually('a backend waits for a lock', async () => {
      const waiting = await second.dataSource.query<{ pid: number }[]>(
        `SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()`,
      );
      pid = waiting[0]?.pid;
      return pid !== undefined;
    });
    return pid ?? Number.NaN;
  }

  it('share one commit, begun and ended calls alike', async () => {
    const ended = many(20);
    await Promise.all(ended.map((generation) => begin(first, generation)));
    expect(await transactionsOf(ended)).toBe(1);
    const begun = many(20);
    await Promise.all([
      ...begun.map((generation) => begin(first, generation)),
      ...ended.map((generation) => finish(first, generation)),
    ]);
    expect(await transactionsOf([...begun, ...ended])).toBe(1);
    await Promise.all(begun.map((generation) => fail(first, generation)));
  });

  it('keep each row what its own call made of it', async () => {
    const running = newGeneration();
    const delivered = newGeneration();
    const failed = newGeneration();
    const lost = newGeneration();
    const unknown = newGeneration();
    await Promise.all([running, delivered, failed, lost].map((generation) => begin(first, generation)));
    const answers = await Promise.all([
      begin(first, running, [task(1)]),
      finish(first, delivered),
      fail(first, failed),
      lose(first, lost),
      // Its beginning was never written.
      finish(first, unknown),
    ]);
    expect(answers[0]).toBe(true);
    expect(await statusesOf(running, delivered, failed, lost, unknown)).toEqual([
      'running',
      'succeeded',
      'failed',
      'unresolved',
      'succeeded',
    ]);
    const tasks = await first.dataSource.query<{ generation_id: string; states: string }[]>(
      `SELECT generation_id, string_agg(position || status, ' ' ORDER BY position) AS states
         FROM generation_tasks WHERE generation_id = ANY($1) GROUP BY 1`,
      [[running, delivered, failed, lost, unknown].map(({ id }) => id)],
    );
    expect(Object.fromEntries(tasks.map(({ generation_id: id, states }) => [id, states]))).toEqual({
      [running.id]: '0pending 1pending',
      [delivered.id]: '0delivered 1delivered',
      [failed.id]: '0pending',
      [lost.id]: '0pending',
      [unknown.id]: '0delivered 1delivered',
    });
    // A call that is over stays as it is, and each late write of it is answered so, on its own.
    const late = await Promise.all(
      [delivered, running, failed].map((generation) => begin(first, generation)),
    );
    await Promise.all([fail(first, delivered), finish(first, failed), lose(first, delivered)]);
    expect(late).toEqual([false, true, false]);
    expect(await statusesOf(delivered, failed)).toEqual(['succeeded', 'failed']);
    await Promise.all([fail(first, running), fail(first, lost)]);
  });

  it('are written in the order in which one call gave them, one a commit', async () => {
    const one = newGeneration();
    const others = many(10);
    const writes = Promise.all([
      begin(first, one),
      begin(first, one, [task(1)]),
      finish(first, one),
      begin(first, one),
    ]);
    await Promise.all(others.map((other) => begin(first, other)));
    // The others do not wait for it, nor are they taken apart for its sake.
    expect(await transactionsOf(others)).toBe(1);
    expect(await writes).toEqual([true, true, undefined, false]);
    expect(await statusesOf(one)).toEqual(['succeeded']);
    await Promise.all(others.map((other) => fail(first, other)));
  });

  it('give an idempotency key to exactly one of its copies, in one batch and over two processes', async () => {
    const keys = Array.from({ length: 10 }, (_, index) => `key-${index}`);
    const copies = (names: readonly string[]): Generation[] =>
      names.flatMap((idempotencyKey) => many(8).map((copy) => ({ ...copy, idempotencyKey })));
    // Each process begins at another end, which is where two that lock in no order would wait for each other.
    const ours = copies(keys);
    const theirs = copies([...keys].reverse());
    const answers = await Promise.all([
      ...ours.map(async (copy) => ({ copy, won: await first.records.claim(copy) })),
      ...theirs.map(async (copy) => ({ copy, won: await second.records.claim(copy) })),
    ]);
    const winners = answers.filter(({ won }) => won).map(({ copy }) => copy);
    expect(winners.map(({ idempotencyKey }) => idempotencyKey).sort()).toEqual([...keys].sort());
    expect(
      await rowsOf(
        second,
        answers.map(({ copy }) => copy),
      ),
    ).toHaveLength(keys.length);
    await Promise.all(winners.map((winner) => fail(first, winner)));
  });

  it('free a key with the failure of its call, for a claim of the next batch', async () => {
    const failing = newGeneration({ idempotencyKey: 'freed' });
    const next = newGeneration({ idempotencyKey: 'freed' });
    expect(await first.records.claim(failing)).toBe(true);
    expect(await Promise.all([fail(first, failing), first.records.claim(next)])).toEqual([undefined, false]);
    expect(await first.records.claim(next)).toBe(true);
    await fail(first, next);
  });

  it.each([
    ['a text that the database cannot store', { endUser: 'nul \u0000 byte' }],
    ['a broken rule', { imagesRequested: 11 }],
    ['a price that does not exist', { priceId: 'price_none' }],
  ])('go through when the database refuses one of them: %s', async (_what, facts) => {
    const neighbours = many(20);
    const refused = newGeneration(facts);
    const all = [...neighbours.slice(0, 7), refused, ...neighbours.slice(7)];
    const answers = await Promise.all(all.map((generation) => outcomeOf(begin(first, generation))));
    expect(answers[7]).toBeInstanceOf(Error);
    expect(isUnavailable(answers[7])).toBe(false);
    expect(answers.filter((answer) => answer === true)).toHaveLength(20);
    expect(await rowsOf(second, all)).toHaveLength(20);
    await Promise.all(neighbours.map((generation) => fail(first, generation)));
  });

  it('never make two processes wait for each other that write the same rows in opposite order', async () => {
    const generations = many(30);
    await Promise.all(generations.map((generation) => begin(first, generation)));
    const before = await deadlocks();
    for (let round = 0; round < 20; round += 1) {
      const writes = [
        ...generations.map((generation) => begin(first, generation)),
        ...[...generations].reverse().map((generation) => begin(second, generation)),
        first.records.renewLeases([...generations].reverse(), Date.now()),
      ];
      expect((await Promise.all(writes)).filter((isWritten) => isWritten === false)).toEqual([]);
    }
    expect(await deadlocks()).toBe(before);
    await Promise.all(generations.map((generation) => fail(first, generation)));
  });

  async function deadlocks(): Promise<number> {
    const [row] = await first.dataSource.query<{ deadlocks: number }[]>(
      'SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()',
    );
    return row?.deadlocks ?? Number.NaN;
  }

  it('are run again when somebody else locks against their order', async () => {
    const generations = many(2).sort((a, b) => (a.id < b.id ? -1 : 1)) as [Generation, Generation];
    await Promise.all(generations.map((generation) => begin(first, generation)));
    const lock = await lockRows(generations[1]);
    const writes = Promise.all(generations.map((generation) => outcomeOf(finish(first, generation))));
    await untilOneWaits();
    // One of the two gives way when this closes the circle, most often the batch: it has waited for longer.
    const circle = 'SELECT FROM generations WHERE id = $1 FOR UPDATE';
    await lock.runner.query(circle, [generations[0].id]).catch(() => undefined);
    await lock.release();
    expect(await writes).toEqual([undefined, undefined]);
    expect(await statusesOf(...generations)).toEqual(['succeeded', 'succeeded']);
  });

  it('go through while one of their rows stays locked, whose own write alone is given up', async () => {
    const hasty = await startProcess(50);
    const neighbours = many(10);
    const locked = newGeneration();
    await begin(first, locked);
    const lock = await lockRows(locked);
    const refused = outcomeOf(finish(hasty, locked));
    await Promise.all(neighbours.map((generation) => begin(hasty, generation)));
    expect(isUnavailable(await refused)).toBe(true);
    await lock.release();
    await finish(hasty, locked);
    expect(await statusesOf(locked, ...neighbours)).toEqual([
      'succeeded',
      ...neighbours.map(() => 'running'),
    ]);
    await Promise.all(neighbours.map((generation) => fail(hasty, generation)));
    await hasty.dataSource.destroy();
  });

  /** Ends the server processes that wait for a lock, until `isEnough`. */
  async function terminateWaiting(isEnough: () => boolean): Promise<void> {
    const owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    await eventually('enough server processes were ended', async () => {
      await owner.query(
        `SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
          WHERE NOT granted AND datname = current_database()`,
      );
      return isEnough();
    });
    await owner.destroy();
  }

  it('all hear of it when their connection is lost again and again, and the next ones are written', async () => {
    const generations = many(5);
    await Promise.all(generations.map((generation) => begin(first, generation)));
    const lock = await lockRows(...generations);
    let isOver = false;
    const writes = Promise.all(generations.map((generation) => outcomeOf(finish(first, generation))));
    void writes.then(() => (isOver = true));
    await terminateWaiting(() => isOver);
    const errors = await writes;
    await lock.release();
    expect(errors.map(isUnavailable)).toEqual(generations.map(() => true));
    expect(await statusesOf(...generations)).toEqual(generations.map(() => 'running'));
    await Promise.all(generations.map((generation) => finish(first, generation)));
    expect(await statusesOf(...generations)).toEqual(generations.map(() => 'succeeded'));
  });

  it('wait in a queue that ends: no call begins when it is full, but what was let in is written down', async () => {
    const [held, known] = many(2) as [Generation, Generation];
    await Promise.all([begin(first, held), begin(first, known)]);
    const lock = await lockRows(held);
    const blocked = begin(first, held);
    await untilOneWaits();
    const waiting = many(10_000).map((generation) => begin(first, generation));
    const refused = await outcomeOf(begin(first, newGeneration()));
    expect(refused).toBeInstanceOf(DatabaseUnavailableError);
    const claimed = await outcomeOf(first.records.claim(newGeneration({ idempotencyKey: 'late' })));
    expect(claimed).toBeInstanceOf(DatabaseUnavailableError);
    const ended = finish(first, known);
    await lock.release();
    expect(await blocked).toBe(true);
    expect((await Promise.all(waiting)).filter(Boolean)).toHaveLength(10_000);
    await ended;
    expect(await statusesOf(known)).toEqual(['succeeded']);
    await first.dataSource.query(
      `UPDATE generations SET status = 'failed', error_code = 'test', finished_at = now() WHERE status = 'running'`,
    );
  });

  it('are all written before a process that stops lets go of its connections', async () => {
    const stopping = await startProcess();
    const generations = many(600);
    const writes = generations.map((generation) => begin(stopping, generation));
    await stopping.queue.onApplicationShutdown();
    await stopping.dataSource.destroy();
    expect((await Promise.all(writes)).filter(Boolean)).toHaveLength(600);
    await Promise.all(generations.map((generation) => fail(first, generation)));
  });

  it('read no table from end to end, not even over a connection that saw all of them empty', async () => {
    const empty = await createTestDatabase();
    const owner = await new DataSource({ type: 'postgres', url: empty.url }).initialize();
    const dataSource = await new DataSource(applicationDataSourceOptions(empty.serviceUrl, 1)).initialize();
    try {
      // The statistics say that nothing is there; without them the planner assumes ten pages.
      await owner.query('VACUUM ANALYZE');
      await owner.query(`INSERT INTO accounts (id, name, created_at) VALUES ($1, 'Test', now())`, [
        accountId,
      ]);
      await owner.query(ADD_FREE_PRICE);
      const queue = new RecordQueueService(dataSource);
      const records = new GenerationRecordsService(dataSource, queue);
      const process = { dataSource, queue, records };
      for (let round = 0; round < 12; round += 1) {
        const generations = many(1 + (round % 3));
        await Promise.all(generations.map((generation) => begin(process, generation)));
        await Promise.all(generations.map((generation) => finish(process, generation)));
        const keyed = generations.map((generation) => ({
          ...generation,
          id: newId('generation'),
          idempotencyKey: generation.id,
        }));
        await Promise.all(keyed.map((generation) => records.claim(generation)));
      }
      // Ending the connection makes the server count what it did.
      await dataSource.destroy();
      const scans = await owner.query<{ relname: string; seq_scan: number }[]>(
        `SELECT relname, seq_scan::int FROM pg_stat_user_tables
          WHERE relname IN ('generations', 'generation_tasks', 'prices') AND seq_scan > 0`,
      );
      expect(scans).toEqual([]);
    } finally {
      await owner.destroy();
      await empty.drop();
    }
  });
});
