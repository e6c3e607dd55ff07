import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import OpenAI from 'openai';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { toHoldId, toHoldReference } from '../../src/gateway/images/calls/records/generation.js';
import { GenerationRecordsService } from '../../src/gateway/images/calls/records/generation-records.service.js';
import { UNWRITTEN_MS } from '../../src/gateway/images/calls/retries/retry-step.js';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import {
  ANSWERED_WINDOW_MS,
  CLAIM_MS,
  RetryClaimsService,
  RETRY_WINDOW_MS,
} from '../../src/gateway/images/calls/retries/retry-claims.service.js';
import { balancesOf, expectReceiptsToAgree, MODEL, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { generationLimits } from '../../src/gateway/images/calls/generation-limits.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { CutOffCalls, type Sent } from '../support/images/cut-off-calls.js';
import { withClockAhead } from '../support/images/recovery.js';
import { dieAt } from '../support/process/deaths.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

const CREDIT_MICROS = 1_000_000n;

let service: TestApp;
/** A second process on the same database. */
let second: TestApp;
let customer: TestCustomer;
/** Its calls. */
let calls: CutOffCalls;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  const { masterKeys, dataDir, publicUrl, blackForestLabs } = service.settings;
  second = await startTestApp({
    databaseUrl: service.databaseUrl,
    settings: { masterKeys, dataDir, publicUrl: publicUrl ?? new URL(service.url), blackForestLabs },
  });
});
beforeEach(async () => {
  customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
  calls = new CutOffCalls(service, second, customer);
});
afterEach(async () => {
  calls.letProviderFinish();
  await calls.allOver();
  await expectReceiptsToAgree(service, customer.accountId, second);
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await second.close();
  await service.close();
});

const paid = async (): Promise<bigint> => CREDIT_MICROS - (await balancesOf(customer)).posted;
const send = (retryCount: number | null, sent: Sent = {}): Promise<Response> =>
  calls.send({ retryCount, ...sent });

/** As an SDK does: what is to be sent again (409, too many wait) is sent again. */
async function sendUntilMade(retryCount: number, sent: Sent): Promise<Response> {
  const answer = await send(retryCount, sent);
  if (answer.status !== 409) return answer;
  return sendUntilMade(retryCount + 1, sent);
}

const ids = (answers: readonly Response[]): (string | null)[] =>
  answers.map(({ headers }) => headers.get('x-generation-id'));

describe('an SDK that sends a call again without a key', () => {
  it.each([
    ['at once', 'atOnce'],
    ['while its credit is set aside', 'whileCreditIsSetAside'],
    ['while the provider works', 'whileProviderWorks'],
  ] as const)('gets what was made for it and pays once, when it hung up %s', async (_stage, cutOff) => {
    for (const at of [service, second]) {
      const before = { submits: calls.submits, paid: await paid() };
      await calls[cutOff]();
      const retry = send(1, { at });
      // Before that, no attempt is left (it gives back its credit when it finds its client gone): the retry makes the image itself.
      if (cutOff === 'whileProviderWorks') await calls.untilClaimed(retry);
      calls.letProviderFinish();
      const answer = await retry;
      expect(answer.status).toBe(200);
      await answer.json();
      expect([calls.submits - before.submits, (await paid()) - before.paid]).toEqual([1, PRICE_MICROS]);
      await calls.allOver();
    }
  });

  it('gets the very answer that was finished without it, to the byte, however often it is cut off', async () => {
    await calls.whileProviderWorks();
    calls.letProviderFinish();
    await calls.allOver();
    const [row] = await service.dataSource.query<{ id: string; state: string }[]>(
      'SELECT id, retry_state AS state FROM generations WHERE account_id = $1',
      [customer.accountId],
    );
    expect(row?.state).toBe('abandoned');
    const answer = await send(1, { at: second });
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(answer.headers.get('x-charged-micros')).toBe(String(PRICE_MICROS));
    expect(ids([answer])).toEqual([row?.id]);
    const receipt = await customer.client.get(`/v1/generations/${row?.id}`);
    const made = (await answer.json()) as { created: number; data: { url: string }[] };
    expect(made.created).toBe(receipt.expect(200).body.created);
    expect(made.data).toHaveLength(1);
    expect((await fetch(made.data[0]?.url ?? '')).status).toBe(200);
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('gets it also when its first retry was cut off as well, over any process', async () => {
    await calls.whileProviderWorks();
    await calls.whileRetryWaits({ retryCount: 1, at: second });
    const retry = send(2);
    calls.letProviderFinish();
    const answer = await retry;
    expect(answer.status).toBe(200);
    await answer.json();
    expect(await paid()).toBe(PRICE_MICROS);
    expect(calls.submits).toBeGreaterThan(0);
  });

  it('never shares an attempt with another call: two calls that were cut off are two, in whatever process they are sent again', async () => {
    await calls.whileProviderWorks([{}, {}, { at: second }]);
    calls.letProviderFinish();
    await calls.allOver();
    const answers = await Promise.all([send(1), send(1, { at: second }), send(1)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    await Promise.all(answers.map((answer) => answer.json()));
    expect(new Set(ids(answers)).size).toBe(3);
    expect(await paid()).toBe(3n * PRICE_MICROS);
  });

  it('never shares one of 20 attempts, finished or not, when 20 calls are cut off and retried at once', async () => {
    const before = calls.submits;
    const everywhere = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? service : second));
    const all = everywhere.map((at) => ({ at }));
    await calls.whileProviderWorks(all.slice(0, 10));
    calls.letProviderFinish();
    await calls.allOver();
    await calls.whileProviderWorks(all.slice(10));
    let answered = 0;
    const retries = everywhere.toReversed().map(async (at) => {
      const answer = await sendUntilMade(1, { at });
      answered += 1;
      return answer;
    });
    await eventually('what was finished is answered', () => answered === 10);
    calls.letProviderFinish();
    const answers = await Promise.all(retries);
    await Promise.all(answers.map((answer) => answer.json()));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    const attempts = `SELECT id, status, retry_state, last_attempt FROM generations WHERE account_id = $1 ORDER BY id`;
    const rows = await service.dataSource.query<{ id: string }[]>(attempts, [customer.accountId]);
    expect({ ids: ids(answers).toSorted(), rows }).toEqual({ ids: rows.map(({ id }) => id), rows });
    expect(rows).toHaveLength(20);
    expect([calls.submits - before, await paid()]).toEqual([20, 20n * PRICE_MICROS]);
  });

  it('is given what an identical call’s client has received, for nothing: its own answer may be the one that was lost', async () => {
    calls.keepProviderBusy();
    const other = send(0);
    await eventually('the other call has begun', async () => (await calls.rowsOf('generations')) === 1);
    const retry = send(1, { at: second });
    await calls.untilClaimed();
    calls.letProviderFinish();
    const [answer, first] = await Promise.all([retry, other]);
    await Promise.all([answer.json(), first.json()]);
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(new Set(ids([answer, first])).size).toBe(1);
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it.each([
    ['a first attempt', 0, {}],
    ['a client that announces no retries', null, {}],
    ['another body', 1, { prompt: 'a cat' }],
    ['a call with an idempotency key', 1, { key: 'a-key' }],
  ])('is what joins; %s never does', async (_who, retryCount, sent) => {
    await calls.whileProviderWorks();
    calls.letProviderFinish();
    await calls.allOver();
    await (await send(retryCount, sent)).json();
    expect(await paid()).toBe(2n * PRICE_MICROS);
  });

  it('joins calls of its own API key only', async () => {
    await calls.whileProviderWorks();
    calls.letProviderFinish();
    await calls.allOver();
    const made = await service.operator.post(`/v1/accounts/${customer.accountId}/api_keys`, {
      name: 'another key',
      scopes: ['generate'],
    });
    await (await send(1, { apiKey: String(made.expect(201).body.secret) })).json();
    expect(await paid()).toBe(2n * PRICE_MICROS);
  });

  it('is made again when its earlier attempt failed for nothing', async () => {
    service.blackForestLabs?.control.fail('error', 1);
    await calls.whileProviderWorks();
    const retry = send(1, { at: second });
    await calls.untilClaimed();
    calls.letProviderFinish();
    const answer = await retry;
    expect(answer.status).toBe(200);
    await answer.json();
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('is answered the same 503, not to be sent again, when it is not known how its attempt ended', async () => {
    setLimits(service, { callDeadlineMs: 150 });
    try {
      // The deadline counts from the hold on, and the client is gone before that.
      await calls.whileCreditIsSetAside();
      const answer = await send(1, { at: second });
      expect(answer.status).toBe(503);
      expect(answer.headers.get('x-should-retry')).toBe('false');
      const { error } = (await answer.json()) as { error: Record<string, unknown> };
      expect(error).toMatchObject({ code: 'upstream_timeout', charged_micros: '0', outcome: 'pending' });
      expect(await paid()).toBe(0n);
    } finally {
      setLimits(service, generationLimits);
    }
    calls.letProviderFinish();
    await withClockAhead(second, 60_000, async () => {
      await second.app.get(GenerationRecoveryService).recoverDue();
    });
    // Delivered after all: the retry that comes now has it.
    const answer = await send(2, { at: second });
    await answer.json();
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('waits for an attempt of another process whose row is not written yet, instead of paying for a second one', async () => {
    const writing = dieAt(service.app.get(GenerationRecordsService), 'begin', 'before');
    const outlook = jest.spyOn(second.app.get(RetryClaimsService), 'outlook');
    try {
      await calls.whileProviderWorks();
      await writing.reached;
      const retry = send(1, { at: second });
      await eventually('it has found a hold without a row, twice', () => outlook.mock.calls.length > 1);
      expect(await outlook.mock.results[0]?.value).toMatchObject({
        unwritten: { holdId: expect.any(String) },
      });
      writing.wake();
      calls.letProviderFinish();
      const answer = await retry;
      await answer.json();
      expect(answer.headers.get('idempotent-replayed')).toBe('true');
      expect(await paid()).toBe(PRICE_MICROS);
    } finally {
      outlook.mockRestore();
    }
  });

  it('ends the hold of an attempt whose process died before its row, so that only the retry can be charged', async () => {
    await (await send(0, { prompt: 'a fox' })).json();
    const [row] = await service.dataSource.query<{ key: string; fingerprint: string }[]>(
      'SELECT api_key_id AS key, fingerprint FROM generations WHERE account_id = $1',
      [customer.accountId],
    );
    const id = newId('generation');
    const { key: keyId = '', fingerprint = '' } = row ?? {};
    const held = { accountId: customer.accountId, holdId: toHoldId(id), actor: 'test' };
    await service.app.get(WalletEngine).execute({
      ...held,
      type: 'authorize',
      keyId,
      reference: toHoldReference(id),
      fingerprint,
      memo: null,
      amountMicros: micros(PRICE_MICROS),
      expiresAtMs: Date.now() + 60_000,
    });
    await withClockAhead(second, UNWRITTEN_MS, async () => {
      const answer = await send(1, { prompt: 'a fox', at: second });
      await answer.json();
      expect(answer.headers.get('idempotent-replayed')).toBeNull();
    });
    // Were it alive after all, it would deliver nothing.
    const capture = { ...held, type: 'capture', amountMicros: micros(PRICE_MICROS), memo: null } as const;
    const outcome = await service.app.get(WalletEngine).execute(capture);
    expect(outcome).toMatchObject({ type: 'already_resolved', hold: { status: 'voided' } });
    expect(await paid()).toBe(2n * PRICE_MICROS);
  });

  it('takes over from its first retry when the process of that one died', async () => {
    await calls.whileProviderWorks();
    calls.letProviderFinish();
    await calls.allOver();
    // The row as a dead process leaves it.
    await service.dataSource.query(
      `UPDATE generations SET retry_state = 'claimed', retry_claim = 'dead', retry_claim_expires_at = $2
        WHERE account_id = $1`,
      [customer.accountId, new Date(Date.now() + CLAIM_MS)],
    );
    const outlook = jest.spyOn(second.app.get(RetryClaimsService), 'outlook');
    const retry = send(2, { at: second });
    await eventually('it waits for the end of that claim', () => outlook.mock.calls.length > 1);
    outlook.mockRestore();
    await withClockAhead(second, CLAIM_MS, async () => {
      const answer = await retry;
      await answer.json();
      expect(answer.headers.get('idempotent-replayed')).toBe('true');
      expect(await paid()).toBe(PRICE_MICROS);
    });
  });

  it('is not found any more once the window of retries is over, and its rows leave the index', async () => {
    await calls.whileProviderWorks();
    calls.letProviderFinish();
    await calls.allOver();
    const marked = (): Promise<number> => calls.rowsOf('generations', 'retry_state IS NOT NULL');
    expect(await marked()).toBe(1);
    await service.app.get(RetryClaimsService).forget(Date.now() + RETRY_WINDOW_MS, 1_000);
    expect(await marked()).toBe(0);
  });
});

describe('an answer whose connection ends', () => {
  const request = (): string => {
    const body = JSON.stringify({ model: MODEL, prompt: 'a fox', size: '64x64' });
    return [
      'POST /v1/images/generations HTTP/1.1',
      `host: ${new URL(service.url).host}`,
      `authorization: Bearer ${customer.apiKey}`,
      'content-type: application/json',
      'x-stainless-retry-count: 0',
      `content-length: ${body.length}`,
      '',
      body,
    ].join('\r\n');
  };
  const open = async (): Promise<Socket> => {
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  };

  it('right after it may be lost: the retry gets it, and pays nothing', async () => {
    const socket = await open();
    socket.write(request());
    await new Promise((resolve) => socket.once('data', resolve));
    socket.resetAndDestroy();
    await eventually('the service has noticed', () => calls.isAbandoned());
    const answer = await send(1, { prompt: 'a fox', at: second });
    await answer.json();
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('after another request on it has come in is lost for the last one alone, and later for none of them', async () => {
    const socket = await open();
    for (let call = 0; call < 2; call += 1) {
      socket.write(request());
      await new Promise((resolve) => socket.once('data', resolve));
      await calls.allOver();
    }
    socket.destroy();
    await eventually('the service has noticed', () => calls.isAbandoned());
    // The last one on the connection may be lost; the one before it only by a proxy in between, within seconds.
    await withClockAhead(service, ANSWERED_WINDOW_MS, async () => {
      const answers = [await send(1, { prompt: 'a fox' }), await send(1, { prompt: 'a fox' })];
      await Promise.all(answers.map((answer) => answer.json()));
      expect(answers.map(({ headers }) => headers.get('idempotent-replayed'))).toEqual(['true', null]);
    });
    expect(await paid()).toBe(3n * PRICE_MICROS);
  });
});

describe('the unmodified OpenAI SDK', () => {
  it('is charged once for a call that it gives up waiting for and sends again by itself', async () => {
    const before = calls.submits;
    calls.keepProviderBusy();
    let sent = 0;
    const openai = new OpenAI({
      apiKey: customer.apiKey,
      baseURL: `${service.url}/v1`,
      // On a slow machine its later attempts may be cut off as well; they are more of the same.
      timeout: 250,
      maxRetries: 50,
      fetch: (...request) => {
        sent += 1;
        // Its first attempt is over before there is an answer.
        if (sent > 1) calls.letProviderFinish();
        return fetch(...request);
      },
    });
    const made = await openai.images.generate({ model: MODEL, prompt: 'a fox', size: '1024x1024' });
    expect(made.data).toHaveLength(1);
    expect(sent).toBeGreaterThan(1);
    expect(calls.submits - before).toBe(1);
    expect(await paid()).toBe(PRICE_MICROS);
  });
});
