import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { OrphanedHoldsService } from '../../src/gateway/images/calls/recovery/orphaned-holds.service.js';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { balancesOf, expectReceiptsToAgree, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually, happensWithin } from '../support/processes.js';
import { RECOVERY_DUE_MS, withClockAhead } from '../support/images/recovery.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { asService } from '../support/database/test-database.js';

const CREDIT_MICROS = 10n * PRICE_MICROS;
/** Each process is killed over several calls; a loop that never ends helps no one. */
const KILLS_MAX = 60;
/** Every connection may be held by a call that is stopped already: then this process has served. */
const STUCK_AFTER_MS = 1_500;
const DIES_WITHIN_MS = 10_000;
/** Fewer, and the steps are not what they were. */
const STEPS_MIN = 12;

/** Between the hold and the reply; were one of them missing, others would be too. Whatever else is written was found. */
const ON_THE_WAY = [
  expect.stringMatching(/lock_wallets.*load_budgets/),
  'write_lone:w,nh; commit',
  'POST /v1/flux-2-klein-9b',
  'generation_save',
  expect.stringMatching(/^GET .*get_result$/),
  'GET /delivery/…',
  'file made',
  'file written',
  expect.stringMatching(/lock_wallets.*load_lots; …$/),
  'write_lone:t,w,l,h; commit',
  'generation_save (2)',
  'HTTP/1.1 200',
  'before anything',
];

type Kind = 'with an idempotency key' | 'without one, by an SDK';

type Call = {
  readonly customer: TestCustomer;
  readonly headers: Readonly<Record<string, string>>;
  /** The whole body that its client received before the process died. */
  received: string | null;
  over: Promise<void>;
};

// Some twenty processes start one after the other.
jest.setTimeout(3 * CHAOS_TIMEOUT_MS);

describe('the service is killed with -9 at each step between the hold and the reply', () => {
  const cleanUp = new CleanUp();
  /** Makes customers and recovers what dead processes left. It takes no calls. */
  let desk: TestApp;
  let service: { readonly dataDir: string; readonly port: number; readonly env: Record<string, string> };
  let stepsFile: string;

  beforeAll(async () => {
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    desk = await startTestApp({ blackForestLabs: true, settings: { dataDir } });
    cleanUp.add(() => desk.close());
    const { blackForestLabs } = desk.settings;
    stepsFile = path.join(dataDir, 'steps');
    service = {
      dataDir,
      port: await chooseServicePort(),
      env: {
        DATABASE_URL: asService(desk.databaseUrl),
        BFL_API_KEY: blackForestLabs?.apiKey ?? '',
        BFL_API_BASE: String(blackForestLabs?.apiBase),
        COFFER_MASTER_KEYS: `test:${randomBytes(32).toString('base64')}`,
        COFFER_JOBS: 'off',
        // Calls that wait in one lane of the engine shall not keep the others out of it.
        ENGINE_LANES: '16',
        // Nor shall their connections: each call that is stopped keeps one.
        DATABASE_POOL_SIZE: '40',
        COFFER_TEST_STEPS: stepsFile,
      },
    };
  });

  afterAll(() => cleanUp.run());

  /** A process whose code is loaded, so that it starts at once when a test asks for it. */
  function spawnNext(): ServiceProcess {
    const next = ServiceProcess.spawn({ ...service, preload: 'stop-at-steps.mjs' });
    cleanUp.add(() => next.kill());
    return next;
  }

  const stepsTried = async (): Promise<string[]> =>
    (await readFile(stepsFile, 'utf8')).split('\n').filter((step) => step !== '');

  /** Null: the connection broke before the answer was whole. */
  async function send(
    { customer, headers }: Call,
    retryHeaders: Readonly<Record<string, string>> = {},
  ): Promise<Response | null> {
    return fetch(`http://127.0.0.1:${service.port}/v1/images/generations`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${customer.apiKey}`,
        'content-type': 'application/json',
        ...headers,
        ...retryHeaders,
      },
      body: JSON.stringify({ model: MODEL, prompt: 'a fox', size: '64x64', response_format: 'b64_json' }),
    }).catch(() => null);
  }

  async function begin(kind: Kind): Promise<Call> {
    const customer = await desk.createCustomer({ grantMicros: CREDIT_MICROS });
    const headers: Record<string, string> =
      kind === 'with an idempotency key'
        ? { 'idempotency-key': 'the-call', connection: 'close' }
        : { 'x-stainless-retry-count': '0', connection: 'close' };
    return { customer, headers, received: null, over: Promise.resolve() };
  }

  const start = (call: Call): Promise<void> =>
    (call.over = send(call).then(async (answer) => {
      if (answer?.status === 200) call.received = await answer.text().catch(() => null);
    }));

  type End = 'stopped' | 'killed' | 'stuck' | 'answered';

  async function playOne(running: ServiceProcess, call: Call, isFirst: boolean): Promise<End> {
    await running.sendLine(`try ${JSON.stringify(await stepsTried())}`, 'heard');
    const stopsBefore = running.timesPrinted('stopped');
    void start(call);
    const patience = isFirst ? Number.POSITIVE_INFINITY : performance.now() + STUCK_AFTER_MS;
    let end: End | null = null;
    await eventually('it is stopped, killed, stuck or answered', async () => {
      if (!running.isRunning) end = 'killed';
      else if (running.timesPrinted('stopped') > stopsBefore) end = 'stopped';
      else if (call.received !== null && (await isWrittenDown(call))) end = 'answered';
      else if (performance.now() > patience) end = 'stuck';
      return end !== null;
    });
    return end ?? 'stuck';
  }

  async function isWrittenDown({ customer }: Call): Promise<boolean> {
    const sql = `SELECT FROM generations WHERE account_id = $1 AND status = 'succeeded'`;
    return (await desk.dataSource.query<unknown[]>(sql, [customer.accountId])).length > 0;
  }

  /** The calls that one process was killed over, and whether one of them found no new step. */
  async function playUntilKilled(
    running: ServiceProcess,
    kind: Kind,
  ): Promise<{ calls: Call[]; over: boolean }> {
    const calls: Call[] = [];
    for (;;) {
      const call = await begin(kind);
      calls.push(call);
      const end = await playOne(running, call, calls.length === 1);
      if (end === 'stopped') continue;
      const last = await begin(kind);
      calls.push(last);
      if (running.isRunning) await askToDie(running);
      void start(last);
      // Where even that one only waits for what was stopped, it is killed from outside.
      await happensWithin(DIES_WITHIN_MS, running.ended);
      await running.kill();
      await Promise.all(calls.map(({ over }) => over));
      return { calls, over: end === 'answered' };
    }
  }

  const recover = (): Promise<void> =>
    withClockAhead(desk, RECOVERY_DUE_MS, async () => {
      await desk.app.get(GenerationRecoveryService).recoverDue();
      await desk.app.get(OrphanedHoldsService).release();
    });

  /** The customer's side: anyone who got no answer sends the call again, and is charged for one. */
  async function sendAgain(call: Call, kind: Kind): Promise<void> {
    const isKeyed = kind === 'with an idempotency key';
    // An SDK does not send again what was answered.
    if (isKeyed || call.received === null) {
      const again = await send(call, isKeyed ? {} : { 'x-stainless-retry-count': '1' });
      const body = await again?.text();
      expect([again?.status, again?.headers.get('x-charged-micros')]).toEqual([200, String(PRICE_MICROS)]);
      if (call.received !== null) expect(body).toBe(call.received);
      if (isKeyed) expect(await (await send(call))?.text()).toBe(body);
    }
    await eventually('its outcome is written down', () => isWrittenDown(call));
    expect(await balancesOf(call.customer)).toEqual({
      posted: CREDIT_MICROS - PRICE_MICROS,
      available: CREDIT_MICROS - PRICE_MICROS,
      held: 0n,
    });
    await expectReceiptsToAgree(desk, call.customer.accountId);
  }

  it.each<Kind>(['with an idempotency key', 'without one, by an SDK'])(
    'charges a call %s once and answers it whole when it is sent again, wherever it was cut off',
    async (kind) => {
      await writeFile(stepsFile, '');
      let played = 0;
      let before: readonly Call[] = [];
      let running = spawnNext();
      for (let over = false, kills = 0; ; kills += 1) {
        expect(kills).toBeLessThan(KILLS_MAX);
        await running.untilPrinted('standing by');
        await running.sendLine('go', 'Coffer is ready at');
        await recover();
        for (const call of before) await sendAgain(call, kind);
        if (over) break;
        const next = spawnNext();
        ({ calls: before, over } = await playUntilKilled(running, kind));
        played += before.length;
        running = next;
      }
      await running.kill();
      const steps = [...new Set(await stepsTried())];
      process.stderr.write(`killed at ${steps.length} steps, over ${played} calls:\n${steps.join('\n')}\n`);
      expect(steps).toEqual(expect.arrayContaining(ON_THE_WAY));
      expect(steps.length).toBeGreaterThanOrEqual(STEPS_MIN);
      expect(played).toBeGreaterThanOrEqual(steps.length);
      await expectBooksToBalance(desk.dataSource);
    },
  );
});

/** Whatever works in the background may end it before it says that it has heard. */
async function askToDie(running: ServiceProcess): Promise<void> {
  await running.sendLine('die at once', 'heard').catch((error: unknown) => {
    if (running.isRunning) throw error;
  });
}
