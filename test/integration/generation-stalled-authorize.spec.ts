import { beforeAll, beforeEach, afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import { RetriedCallsService } from '../../src/gateway/images/calls/retries/retried-calls.service.js';
import { RETRY_PAUSE_MS } from '../../src/money/wallets/rules/spending.js';
import { capturedMicros, expectReceiptsToAgree, MODEL, PRICE_MICROS, SMALL } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';
import { holdUpMaking, holdUpMoney, type HeldUp } from '../support/images/hold-up.js';
import { eventually } from '../support/processes.js';

let service: TestApp;
let other: TestApp;
let customer: TestCustomer;
beforeAll(async () => {
  [service, other] = await Promise.all([sharedApp(), sharedTwin()]);
});
beforeEach(async () => {
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
});
afterEach(() => expectReceiptsToAgree(service, customer.accountId, other));
afterAll(() => expectBooksToBalance(service.dataSource));

/** One request of an SDK: its first (0) or one that it sends again by itself. */
function send(at: TestApp, retryCount: number, signal: AbortSignal | null = null): Promise<Response> {
  return fetch(`${at.url}/v1/images/generations`, {
    method: 'POST',
    signal,
    headers: {
      authorization: `Bearer ${customer.apiKey}`,
      'content-type': 'application/json',
      'x-stainless-retry-count': `${retryCount}`,
    },
    body: JSON.stringify({ model: MODEL, prompt: 'a fox', size: SMALL }),
  });
}

/**
 * Both processes are about to set credit aside when `work` has them go on. A lock of the wallet would hold them up as well, but its
 * commands give up after two seconds, which is not long on every machine.
 */
async function whileHeldUp<T>(work: (first: HeldUp, second: HeldUp) => Promise<T>): Promise<T> {
  const [first, second] = [holdUpMoney(service), holdUpMoney(other)];
  try {
    return await work(first, second);
  } finally {
    first.letGo();
    second.letGo();
  }
}

describe('a call that an SDK sends again to another process while its credit is being set aside is charged once', () => {
  it('when its first connection has ended in the meantime', async () => {
    const retry = await whileHeldUp(async (firstHeld, retryHeld) => {
      const client = new AbortController();
      const first = send(service, 0, client.signal).catch((error: unknown) => error);
      await firstHeld.reached;
      client.abort();
      expect(await first).toBeInstanceOf(DOMException);
      const sent = send(other, 1);
      await retryHeld.reached;
      return { sent };
    });
    expect((await retry.sent).status).toBe(200);
    expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
  });

  it('when a proxy keeps its first connection open, and the first attempt has its credit first: the retry joins it', async () => {
    const client = new AbortController();
    const working = holdUpMaking(service);
    const join = jest.spyOn(other.app.get(RetriedCallsService), 'find');
    try {
      const sent = await whileHeldUp(async (firstHeld, retryHeld) => {
        const first = send(service, 0, client.signal).catch((error: unknown) => error);
        await firstHeld.reached;
        const retry = send(other, 1);
        await retryHeld.reached;
        firstHeld.letGo();
        await working.reached;
        return { first, retry };
      });
      await eventually('the retry looks for its attempt once more', () => join.mock.calls.length === 2);
      expect(await openHolds()).toBe(1);
      // In the end the proxy gives the first connection up as well.
      client.abort();
      expect(await sent.first).toBeInstanceOf(DOMException);
      working.letGo();
      const answer = await sent.retry;
      expect([answer.status, answer.headers.get('idempotent-replayed')]).toEqual([200, 'true']);
    } finally {
      working.letGo();
      join.mockRestore();
    }
    expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
  });

  it('when a proxy keeps its first connection open, and the retry has its credit first: the first attempt gives way', async () => {
    const stalled = holdUpMoney(service);
    const working = holdUpMaking(other);
    try {
      const first = send(service, 0);
      await stalled.reached;
      other.clock.letPass(RETRY_PAUSE_MS);
      const retry = send(other, 1);
      await working.reached;
      stalled.letGo();
      const given = await first;
      expect(given.status).toBe(409);
      expect(await given.json()).toMatchObject({
        error: { code: 'idempotency_in_progress', charged_micros: '0' },
      });
      working.letGo();
      expect((await retry).status).toBe(200);
    } finally {
      stalled.letGo();
      working.letGo();
      other.clock.reset();
    }
    expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
  });

  it('and two calls that merely look alike are two, however close they come', async () => {
    const sent = await whileHeldUp(async (...held) => {
      const calls = [send(service, 0), send(other, 0)];
      await Promise.all(held.map(({ reached }) => reached));
      return { calls };
    });
    const answers = await Promise.all(sent.calls);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(await capturedMicros(service, customer.accountId)).toBe(2n * PRICE_MICROS);
  });
});

async function openHolds(): Promise<number> {
  const sql = `SELECT FROM holds WHERE account_id = $1 AND status = 'authorized'`;
  return (await service.dataSource.query<unknown[]>(sql, [customer.accountId])).length;
}
