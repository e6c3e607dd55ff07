import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import OpenAI from 'openai';
import { newId } from '../../src/common/ids.js';
import { micros } from '../../src/common/money.js';
import { holdIdOf, holdReferenceOf } from '../../src/generation/payment/hold-names.js';
import { GenerationRecords } from '../../src/generation/records/generation-records.service.js';
import { UNWRITTEN_MS } from '../../src/generation/retries/retry-step.js';
import { WalletEngine } from '../../src/wallets/wallet-engine.js';
import { RunningGenerations } from '../../src/generation/running-generations.service.js';
import { RetryClaims, RETRY_WINDOW_MS } from '../../src/generation/retries/retry-claims.service.js';
import { balancesOf, expectReceiptsToAgree, MODEL, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { generationLimits } from '../../src/generation/generation-limits.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { withClockAhead } from '../support/images/recovery.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

const CREDIT_MICROS = 1_000_000n;
/** The least that OpenAI's SDKs wait before they send a call again. */
const SDK_PATIENCE_MS = 375;
const SLOW = 'a fox [sandbox:slow=300]';

let service: TestApp;
/** A second process on the same database. */
let second: TestApp;
let customer: TestCustomer;
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
});
afterEach(async () => {
  await Promise.all([service, second].map(({ app }) => quiet(app.get(RunningGenerations))));
  await expectReceiptsToAgree(service, customer.accountId, second);
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await second.close();
  await service.close();
});

const quiet = (running: RunningGenerations): Promise<void> =>
  eventually('no call is under way', () => running.size === 0);
const submits = (): number => service.blackForestLabs?.control.counts().submits ?? 0;
const paid = async (): Promise<bigint> => CREDIT_MICROS - (await balancesOf(customer)).posted;

const hasBegun = async (): Promise<boolean> => {
  const sql = 'SELECT FROM holds WHERE account_id = $1';
  return (await service.dataSource.query<unknown[]>(sql, [customer.accountId])).length > 0;
};

type Sent = {
  readonly prompt?: string;
  readonly at?: TestApp;
  readonly apiKey?: string;
  readonly key?: string;
};

/** One request of an SDK: its first (0) or one that it sends again by itself. */
function send(
  retryCount: number | null,
  { prompt = SLOW, at = service, apiKey = customer.apiKey, key }: Sent = {},
  signal: AbortSignal | null = null,
): Promise<Response> {
  return fetch(`${at.url}/v1/images/generations`, {
    method: 'POST',
    signal,
    headers: {
      authorization: `Bearer ${apiKey}`,
      'content-type': 'application/json',
      ...(retryCount === null ? {} : { 'x-stainless-retry-count': String(retryCount) }),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    body: JSON.stringify({ model: MODEL, prompt, size: '64x64' }),
  });
}

/** A request whose client is gone after so long. */
async function sendAndHangUp(retryCount: number | null, afterMs: number, sent: Sent = {}): Promise<void> {
  const client = new AbortController();
  const answer = send(retryCount, sent, client.signal).then(
    () => 'answered',
    () => 'gone',
  );
  await sleep(afterMs);
  // On a slow machine the call may not have come in by then; but for those that are to be cut off at once it has to.
  if (retryCount === 0 && afterMs >= 50) await eventually('a call has begun', hasBegun);
  client.abort();
  expect(await answer).toBe('gone');
}

const ids = (answers: readonly Response[]): (string | null)[] =>
  answers.map(({ headers }) => headers.get('x-generation-id'));

describe('an SDK that sends a call again without a key', () => {
  it.each([
    ['at once', 0],
    ['while its credit is set aside', 4],
    ['while the provider works', 100],
  ])('gets what was made for it and pays once, when it hung up %s', async (_stage, afterMs) => {
    for (const at of [service, second]) {
      const before = { submits: submits(), paid: await paid() };
      await sendAndHangUp(0, afterMs);
      await sleep(SDK_PATIENCE_MS);
      const answer = await send(1, { at });
      expect(answer.status).toBe(200);
      await answer.json();
      expect([submits() - before.submits, (await paid()) - before.paid]).toEqual([1, PRICE_MICROS]);
      await Promise.all([service, second].map(({ app }) => quiet(app.get(RunningGenerations))));
    }
  });

  it('gets the very answer that was finished without it, to the byte, however often it is cut off', async () => {
    await sendAndHangUp(0, 60);
    await quiet(service.app.get(RunningGenerations));
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
    await sendAndHangUp(0, 50);
    await sendAndHangUp(1, 50, { at: second });
    const answer = await send(2);
    expect(answer.status).toBe(200);
    await answer.json();
    expect(await paid()).toBe(PRICE_MICROS);
    expect(submits()).toBeGreaterThan(0);
  });

  it('never shares an attempt with another call: two calls that were cut off are two, whoever asks where', async () => {
    await Promise.all([sendAndHangUp(0, 60), sendAndHangUp(0, 60), sendAndHangUp(0, 60, { at: second })]);
    await sleep(SDK_PATIENCE_MS);
    const answers = await Promise.all([send(1), send(1, { at: second }), send(1)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    await Promise.all(answers.map((answer) => answer.json()));
    expect(new Set(ids(answers)).size).toBe(3);
    expect(await paid()).toBe(3n * PRICE_MICROS);
  });

  it('never shares one of 20 attempts, finished or not, when 20 calls are cut off and retried at once', async () => {
    const before = submits();
    const everywhere = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? service : second));
    await Promise.all(
      everywhere.map((at, index) => sendAndHangUp(0, 60 + 4 * index, { at, prompt: 'x [sandbox:slow=150]' })),
    );
    await sleep(SDK_PATIENCE_MS);
    const answers = await Promise.all(
      everywhere.toReversed().map((at) => send(1, { at, prompt: 'x [sandbox:slow=150]' })),
    );
    await Promise.all(answers.map((answer) => answer.json()));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(new Set(ids(answers)).size).toBe(20);
    expect([submits() - before, await paid()]).toEqual([20, 20n * PRICE_MICROS]);
  });

  it('is never given what another call’s client has received: it is made anew', async () => {
    const other = send(0);
    await sleep(100);
    const [answer, first] = await Promise.all([send(1, { at: second }), other]);
    await Promise.all([answer.json(), first.json()]);
    expect(answer.headers.get('idempotent-replayed')).toBeNull();
    expect(new Set(ids([answer, first])).size).toBe(2);
    expect(await paid()).toBe(2n * PRICE_MICROS);
  });

  it.each([
    ['a first attempt', 0, {}],
    ['a client that announces no retries', null, {}],
    ['another body', 1, { prompt: 'a cat' }],
    ['a call with an idempotency key', 1, { key: 'a-key' }],
  ])('is what joins; %s never does', async (_who, retryCount, sent) => {
    await sendAndHangUp(0, 60);
    await quiet(service.app.get(RunningGenerations));
    await (await send(retryCount, sent)).json();
    expect(await paid()).toBe(2n * PRICE_MICROS);
  });

  it('joins calls of its own API key only', async () => {
    await sendAndHangUp(0, 60);
    const made = await service.operator.post(`/v1/accounts/${customer.accountId}/api_keys`, {
      name: 'another key',
      scopes: ['generate'],
    });
    await (await send(1, { apiKey: String(made.expect(201).body.secret) })).json();
    expect(await paid()).toBe(2n * PRICE_MICROS);
  });

  it('is made anew when its earlier attempt failed for nothing', async () => {
    service.blackForestLabs?.control.fail('error', 1);
    await sendAndHangUp(0, 50, { prompt: 'a fox [sandbox:slow=150]' });
    const answer = await send(1, { prompt: 'a fox [sandbox:slow=150]', at: second });
    expect(answer.status).toBe(200);
    await answer.json();
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('is told the same 503, not to be sent again, when nobody knows how its attempt ended', async () => {
    setLimits(service, { callDeadlineMs: 150 });
    try {
      await sendAndHangUp(0, 50, { prompt: 'x [sandbox:slow=600]' });
      const answer = await send(1, { prompt: 'x [sandbox:slow=600]', at: second });
      expect(answer.status).toBe(503);
      expect(answer.headers.get('x-should-retry')).toBe('false');
      const { error } = (await answer.json()) as { error: Record<string, unknown> };
      expect(error).toMatchObject({ code: 'upstream_timeout', charged_micros: '0', outcome: 'pending' });
      expect(await paid()).toBe(0n);
    } finally {
      setLimits(service, generationLimits);
    }
    await recoverLost();
    // Delivered after all: the retry that comes now has it.
    const answer = await send(2, { prompt: 'x [sandbox:slow=600]', at: second });
    await answer.json();
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(await paid()).toBe(PRICE_MICROS);
  });

  async function recoverLost(): Promise<void> {
    const { GenerationRecovery } =
      await import('../../src/generation/recovery/generation-recovery.service.js');
    await sleep(600);
    await withClockAhead(second, 60_000, async () => {
      await second.app.get(GenerationRecovery).recoverDue();
    });
  }

  it('waits for an attempt of another process whose row is not written yet, instead of paying for a second one', async () => {
    const records = service.app.get(GenerationRecords);
    const begin = records.begin.bind(records);
    const slowly = jest.spyOn(records, 'begin').mockImplementation(async (...args) => {
      await sleep(400);
      return begin(...args);
    });
    try {
      await sendAndHangUp(0, 60);
      const answer = await send(1, { at: second });
      await answer.json();
      expect(answer.headers.get('idempotent-replayed')).toBe('true');
      expect(await paid()).toBe(PRICE_MICROS);
    } finally {
      slowly.mockRestore();
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
    const held = { accountId: customer.accountId, holdId: holdIdOf(id), actor: 'test' };
    await service.app.get(WalletEngine).execute({
      ...held,
      type: 'authorize',
      keyId,
      reference: holdReferenceOf(id),
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
    await sendAndHangUp(0, 60);
    await quiet(service.app.get(RunningGenerations));
    // What a dead process leaves behind.
    await service.dataSource.query(
      `UPDATE generations SET retry_state = 'claimed', retry_claim = 'dead', retry_claim_expires_at = now() + interval '1 second'
        WHERE account_id = $1`,
      [customer.accountId],
    );
    const answer = await send(2, { at: second });
    await answer.json();
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('is not found any more once the window of retries is over, and its rows leave the index', async () => {
    await sendAndHangUp(0, 60);
    await quiet(service.app.get(RunningGenerations));
    const claims = service.app.get(RetryClaims);
    const marked = async (): Promise<number> => {
      const sql = 'SELECT FROM generations WHERE account_id = $1 AND retry_state IS NOT NULL';
      return (await service.dataSource.query<unknown[]>(sql, [customer.accountId])).length;
    };
    expect(await marked()).toBe(1);
    await claims.forget(Date.now() + RETRY_WINDOW_MS, 1_000);
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

  it('right behind it may be lost: the retry gets it, and pays nothing', async () => {
    const socket = await open();
    socket.write(request());
    await new Promise((resolve) => socket.once('data', resolve));
    socket.resetAndDestroy();
    await sleep(100);
    const answer = await send(1, { prompt: 'a fox', at: second });
    await answer.json();
    expect(answer.headers.get('idempotent-replayed')).toBe('true');
    expect(await paid()).toBe(PRICE_MICROS);
  });

  it('after another request on it has come in: both were used', async () => {
    const socket = await open();
    for (let call = 0; call < 2; call += 1) {
      socket.write(request());
      await new Promise((resolve) => socket.once('data', resolve));
      await sleep(50);
    }
    socket.destroy();
    await sleep(100);
    const answers = [await send(1, { prompt: 'a fox' }), await send(1, { prompt: 'a fox' })];
    await Promise.all(answers.map((answer) => answer.json()));
    // The last one on the connection may be lost; the one before it cannot be.
    expect(answers.map(({ headers }) => headers.get('idempotent-replayed'))).toEqual(['true', null]);
    expect(await paid()).toBe(3n * PRICE_MICROS);
  });
});

describe('the unmodified OpenAI SDK', () => {
  it('is charged once for a call that it gives up waiting for and sends again by itself', async () => {
    const before = submits();
    const openai = new OpenAI({
      apiKey: customer.apiKey,
      baseURL: `${service.url}/v1`,
      timeout: 1_000,
      maxRetries: 2,
    });
    // Slower than the client is patient: its first attempt is over before there is an answer.
    const made = await openai.images.generate({
      model: MODEL,
      prompt: 'x [sandbox:slow=1300]',
      size: '1024x1024',
    });
    expect(made.data).toHaveLength(1);
    expect(submits() - before).toBe(1);
    expect(await paid()).toBe(PRICE_MICROS);
  });
});
