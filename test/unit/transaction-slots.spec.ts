import { readdir, readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { TransactionRunner, type TxActor } from '../../src/platform/database/transaction-runner.js';

const turn = () => new Promise<void>((resolve) => process.nextTick(resolve));
const account = (accountId: string): TxActor => ({ kind: 'account_key', accountId });
const OPERATOR: TxActor = { kind: 'operator_key' };

/** Transactions that last until the test ends them. */
function open(poolSize: number) {
  const tx = { query: () => Promise.resolve([]) };
  const transaction = (work: (given: typeof tx) => unknown) => work(tx);
  const runner = new TransactionRunner({ transaction } as unknown as DataSource, poolSize);
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const begin = (name: string, actor: TxActor): Promise<unknown> =>
    runner
      .run(() => {
        begun.push(name);
        return new Promise<string>((resolve) => ends.push(() => resolve('committed')));
      }, actor)
      .catch((error: unknown) => error);
  return { begun, begin, endOldest: () => ends.shift()?.() };
}

beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate'] }));
afterEach(() => void jest.useRealTimers());

describe('the transactions of a process', () => {
  it.each([
    { poolSize: 4, most: 2 },
    { poolSize: 12, most: 7 },
    { poolSize: 100, most: 58 },
  ])('have at most $most connections of a pool of $poolSize', async ({ poolSize, most }) => {
    const { begun, begin } = open(poolSize);
    for (let index = 0; index < 2 * poolSize; index += 1) {
      for (const actor of [account(`acct_${index}`), OPERATOR, 'system']) void begin('any', actor);
    }
    await turn();
    await turn();
    expect(begun).toHaveLength(most);
  });

  it('of one account have half of what customers have, and an operator’s wait for none of them', async () => {
    const { begun, begin, endOldest } = open(12);
    for (let index = 0; index < 6; index += 1) void begin('a', account('a'));
    void begin('b', account('b'));
    void begin('operator', OPERATOR);
    void begin('job', 'system');
    await turn();
    await turn();
    expect([...begun].sort()).toEqual(['a', 'a', 'b', 'job', 'operator']);
    for (let ended = 0; ended < 4; ended += 1) endOldest();
    for (let turns = 0; turns < 20; turns += 1) await turn();
    expect(begun.slice(5)).toEqual(['a', 'a']);
  });

  it('that find no connection in five seconds are answered 503, say that nothing was charged, and are begun no more', async () => {
    const { begun, begin, endOldest } = open(12);
    for (let index = 0; index < 2; index += 1) void begin('a', account('a'));
    const waiting = begin('late', account('a'));
    jest.advanceTimersByTime(5_000);
    expect(await waiting).toMatchObject({
      code: 'database_unavailable',
      retryAfterSeconds: 1,
      message: expect.stringContaining('Nothing was charged'),
    });
    endOldest();
    for (let turns = 0; turns < 20; turns += 1) await turn();
    expect(begun).toEqual(['a', 'a']);
  });

  it('wait in a bounded number: one account’s five hundred, and a thousand of all customers', async () => {
    const { begin } = open(12);
    const answers = Array.from({ length: 503 }, () => begin('a', account('a')));
    expect(await answers.at(-1)).toMatchObject({ code: 'database_unavailable' });
    for (let index = 0; index < 502; index += 1) void begin('b', account('b'));
    expect(await begin('c', account('c'))).toMatchObject({ code: 'database_unavailable' });
  });

  it('are opened in one place', async () => {
    const opening = /\.transaction\(|\.startTransaction\(/;
    const found: string[] = [];
    for (const name of await readdir('src', { recursive: true })) {
      if (name.endsWith('.ts') && opening.test(await readFile(`src/${name}`, 'utf8'))) found.push(name);
    }
    expect(found).toEqual(['platform/database/transaction-runner.ts']);
  });
});
