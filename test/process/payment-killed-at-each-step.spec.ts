import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import type { Event } from 'coffer-sandbox/stripe/objects';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { eventually } from '../support/processes.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';
import { sign } from '../support/payments/stripe-deliveries.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { asService } from '../support/database/test-database.js';
import { TestClient } from '../support/app/test-client.js';
import { expectCreditedOnce, startTopUp, type OpenTopUp } from '../fixtures/top-up-books.js';

/** Some that every version has; were they missing, the others would be too. Whatever else is written was found. */
const LANDMARKS = [
  expect.stringContaining('INSERT INTO stripe_events'),
  expect.stringContaining('graphile_worker.add_job'),
  'COMMIT',
  'HTTP/1.1 200',
  'get_job/graphile_worker',
  'GET /v1/checkout/sessions/…',
  expect.stringContaining('lock_wallets'),
  expect.stringMatching(/write:.*commit/),
  expect.stringContaining('UPDATE "top_ups"'),
  expect.stringContaining('UPDATE "stripe_events"'),
  'complete_job/graphile_worker',
  'before anything',
];

type Payment = {
  readonly topUp: OpenTopUp;
  readonly event: Event;
  /** Whether its first delivery was answered. */
  acknowledged: Promise<boolean>;
};

/** More processes than the steps need; a loop that never ends helps no one. */
const KILLS_MAX = 60;
/** Every worker may be held by a payment that is stopped already: then this process has served. */
const STUCK_AFTER_MS = 500;

// Some twelve processes start one after the other.
jest.setTimeout(2 * CHAOS_TIMEOUT_MS);

describe('the service is killed with -9 at each step between "Stripe charged" and "wallet credited"', () => {
  const cleanUp = new CleanUp();
  /** Sells the top-ups. It runs no jobs and hears of no event: the killed process does all the rest. */
  let shop: TestApp;
  let control: SandboxStripeControl;
  let service: { readonly dataDir: string; readonly port: number; readonly env: Record<string, string> };
  let stepsFile: string;

  beforeAll(async () => {
    shop = await startTestApp({ stripe: true, settings: { runJobs: false } });
    cleanUp.add(() => shop.close());
    const { stripe } = shop.settings;
    if (shop.stripe === null || stripe === null) throw new Error('this test needs the sandbox');
    control = shop.stripe.control;
    control.setWebhookFaults({ loseEvents: true });
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    stepsFile = path.join(dataDir, 'steps');
    service = {
      dataDir,
      port: await chooseServicePort(),
      env: {
        DATABASE_URL: asService(shop.databaseUrl),
        STRIPE_SECRET_KEY: stripe.secretKey,
        STRIPE_WEBHOOK_SECRET: stripe.webhookSecret,
        STRIPE_API_BASE: String(stripe.apiBase),
        BFL_API_KEY: 'bfl_nobody_answers',
        BFL_API_BASE: 'http://127.0.0.1:9',
        COFFER_MASTER_KEYS: `test:${randomBytes(32).toString('base64')}`,
        // Payments that wait in one lane of the engine shall not keep the others out of it.
        ENGINE_LANES: '16',
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

  async function pay(): Promise<Payment> {
    const topUp = await startTopUp(shop);
    await control.pay(topUp.sessionId);
    const event = control
      .events('checkout.session.completed')
      .find(({ data }) => data.object['id'] === topUp.sessionId);
    if (event === undefined) throw new Error(`no event of ${topUp.id}`);
    return { topUp, event, acknowledged: Promise.resolve(false) };
  }

  /** One attempt of Stripe's. False when it was not acknowledged. */
  async function deliver({ event }: Payment): Promise<boolean> {
    const body = JSON.stringify(event);
    const headers = { 'content-type': 'application/json', 'stripe-signature': sign(shop, body) };
    const client = new TestClient(`http://127.0.0.1:${service.port}`, null);
    const answer = client.send('POST', '/webhooks/stripe', { body, headers });
    return answer.then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  const isHandled = async (payments: readonly Payment[]): Promise<boolean> => {
    const sql = `SELECT count(*)::int AS handled FROM stripe_events e
                  WHERE id = ANY($1) AND processed_at IS NOT NULL
                    AND NOT EXISTS (SELECT FROM graphile_worker._private_jobs j WHERE j.key = e.id)`;
    const ids = payments.map(({ event }) => event.id);
    const rows = await shop.dataSource.query<{ handled: number }[]>(sql, [ids]);
    return rows[0]?.handled === ids.length;
  };

  const stepsTried = async (): Promise<string[]> =>
    (await readFile(stepsFile, 'utf8')).split('\n').filter((step) => step !== '');

  /** What became of one payment: stopped at a new step, or killed there; waiting for others; or credited. */
  type End = 'stopped' | 'killed' | 'stuck' | 'credited';

  async function playOne(running: ServiceProcess, payment: Payment, isFirst: boolean): Promise<End> {
    await running.sendLine(`try ${JSON.stringify(await stepsTried())}`, 'heard');
    const stopsBefore = running.timesPrinted('stopped');
    payment.acknowledged = deliver(payment);
    const patience = isFirst ? Number.POSITIVE_INFINITY : performance.now() + STUCK_AFTER_MS;
    let end: End | null = null;
    await eventually('it is stopped, killed, stuck or credited', async () => {
      if (!running.isRunning) end = 'killed';
      else if (running.timesPrinted('stopped') > stopsBefore) end = 'stopped';
      else if (await isHandled([payment])) end = 'credited';
      else if (performance.now() > patience) end = 'stuck';
      return end !== null;
    });
    return end ?? 'stuck';
  }

  /** Answers the payments that one process was killed over, and whether one of them found no new step. */
  async function playUntilKilled(running: ServiceProcess): Promise<{ payments: Payment[]; over: boolean }> {
    const payments: Payment[] = [];
    for (;;) {
      const payment = await pay();
      payments.push(payment);
      const end = await playOne(running, payment, payments.length === 1);
      if (end === 'stopped') continue;
      payments.push(await killAtOnce(running));
      return { payments, over: end === 'credited' };
    }
  }

  /** Over a payment whose event has come in, and for which nothing was written yet. */
  async function killAtOnce(running: ServiceProcess): Promise<Payment> {
    const payment = await pay();
    if (running.isRunning) await askToDie(running);
    payment.acknowledged = deliver(payment);
    await running.ended;
    return payment;
  }

  it('credits each payment exactly once after the restart, wherever it was cut off', async () => {
    await writeFile(stepsFile, '');
    const payments: Payment[] = [];
    let before: readonly Payment[] = [];
    let running = spawnNext();
    for (let over = false, kills = 0; ; kills += 1) {
      expect(kills).toBeLessThan(KILLS_MAX);
      await running.untilPrinted('standing by');
      await running.sendLine('go', 'Coffer is ready at');
      // Stripe sends again what was not acknowledged, and nothing else: what was must not need it.
      for (const payment of before)
        expect((await payment.acknowledged) || (await deliver(payment))).toBe(true);
      await eventually('the payments of the killed process are worked off', () => isHandled(before));
      if (over) break;
      const next = spawnNext();
      ({ payments: before, over } = await playUntilKilled(running));
      payments.push(...before);
      running = next;
    }
    await running.kill();
    const steps = [...new Set(await stepsTried())];
    process.stdout.write(`killed at ${steps.length} steps, over ${payments.length} payments\n`);
    expect(steps).toEqual(expect.arrayContaining(LANDMARKS));
    expect(payments.length).toBeGreaterThanOrEqual(steps.length);
    for (const { topUp } of payments) await expectCreditedOnce(shop, topUp);
  });
});

/** Whatever works in the background may end it before it says that it has heard. */
async function askToDie(running: ServiceProcess): Promise<void> {
  await running.sendLine('die at once', 'heard').catch((error: unknown) => {
    if (running.isRunning) throw error;
  });
}
