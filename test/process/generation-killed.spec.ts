import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  type SandboxBlackForestLabs,
  startSandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { expectImagesToBeKept, expectReceiptsToAgree } from '../support/images/image-call-proof.js';
import { ImageCallsService } from '../support/images/image-calls.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually, momentLater } from '../support/processes.js';
import { RECOVERY_DUE_MS, recoverGenerations } from '../support/images/recovery.js';
import { seededRandom } from '../support/seeded-random.js';
import { newAccount, newApiKey, PLENTY_MICROS } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/process/service-process.js';

const CLIENTS = 12;
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';
/** Long enough that a kill meets every stage of a call, short enough to make many calls. */
const IMAGE_LATENCY_MS = 150;
/** The provider took the request and never said so: no one knows of a task. */
const SILENT = '[sandbox:submit=hang]';
const SILENT_CALLS = 2;
jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('image calls', () => {
  const random = seededRandom('generation killed');
  const cleanUp = new CleanUp();
  let dataDir: string;
  let port: number;
  let upstream: SandboxBlackForestLabs;
  let service: ServiceProcess;
  /** Of an account of their own for each test. */
  let calls: ImageCallsService;

  beforeAll(async () => {
    dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    port = await chooseServicePort();
    upstream = await startSandboxBlackForestLabs({
      apiKey: UPSTREAM_KEY,
      latencyMs: IMAGE_LATENCY_MS,
      activeTasksMax: null,
    });
    cleanUp.add(() => upstream.close());
    await start();
  });

  beforeEach(async () => {
    const apiKey = await newApiKey(service, await newAccount(service, PLENTY_MICROS), [
      'generate',
      'wallet:read',
    ]);
    calls = new ImageCallsService(service.client(apiKey), random);
  });

  afterEach(async () => {
    await calls.stop();
    await withDatabase(await databaseUrlIn(dataDir), expectBooksToBalance);
  });

  afterAll(() => cleanUp.run());

  async function start(): Promise<void> {
    const env = { BFL_API_KEY: UPSTREAM_KEY, BFL_API_BASE: upstream.baseUrl };
    service = await ServiceProcess.start({ dataDir, port, env });
    const started = service;
    cleanUp.add(() => started.kill());
  }

  const recover = async (aheadMs = RECOVERY_DUE_MS): Promise<void> =>
    recoverGenerations({
      databaseUrl: await databaseUrlIn(dataDir),
      dataDir,
      upstream: { apiKey: UPSTREAM_KEY, baseUrl: upstream.baseUrl },
      aheadMs,
    });

  const query = async <Row>(sql: string, values: readonly string[] = []): Promise<Row[]> =>
    withDatabase(await databaseUrlIn(dataDir), (database) => database.query<Row[]>(sql, [...values]));

  /** Calls and holds that somebody still has to end. */
  async function openWork(): Promise<unknown> {
    const [open] = await query(
      `SELECT (SELECT count(*)::int FROM holds WHERE status = 'authorized') AS holds,
              (SELECT count(*)::int FROM generations WHERE status IN ('running', 'unresolved')) AS calls`,
    );
    return open;
  }

  async function namedTasks(status: 'pending' | 'delivered'): Promise<string[]> {
    const sql = 'SELECT task_id AS task FROM generation_tasks WHERE task_id IS NOT NULL AND status = $1';
    return (await query<{ task: string }>(sql, [status])).map(({ task }) => task);
  }

  async function someAnswers(max: number): Promise<void> {
    const target = calls.answered.length + random.between(1, max);
    await eventually('some calls are answered', () => calls.answered.length >= target);
    // The kill falls anywhere in the calls that are under way; `generation-killed-at-each-step.spec.ts` has every place.
    await momentLater(random.between(0, IMAGE_LATENCY_MS));
  }

  it('cut off by kill -9 are delivered and charged, or released: delivered = captured, and no hold stays', async () => {
    for (let round = 0; round < 2; round += 1) {
      const silent = Array.from({ length: SILENT_CALLS }, () => calls.begin(SILENT, null));
      calls.start(CLIENTS);
      await someAnswers(3 * CLIENTS);
      await service.kill();
      await Promise.all([...silent, calls.stop()]);
      await start();
    }
    const begun = await namedTasks('pending');
    process.stderr.write(
      `chaos: ${calls.answered.length} calls answered, ${calls.cut.length} cut; ` +
        `open ${JSON.stringify(await openWork())}, ${begun.length} tasks under way\n`,
    );
    await recover();
    expect(await openWork()).toEqual({ holds: 0, calls: 0 });
    // What the provider had been asked for, it made: so it is delivered.
    const delivered = new Set(await namedTasks('delivered'));
    expect(begun.filter((task) => !delivered.has(task))).toEqual([]);
    await expectReceiptsToAgree(calls, PLENTY_MICROS);
    for (const { answer, images } of calls.answered)
      expect(answer.expect(200).body.data).toHaveLength(images);

    await calls.sendAgain();
    await expectReceiptsToAgree(calls, PLENTY_MICROS);
    await expectKeyedCallsOnce();
    await expectImagesToBeKept(calls);
  });

  /** A kill can come between two tasks of a call: then the images that were begun are delivered, and charged. */
  async function expectKeyedCallsOnce(): Promise<void> {
    const rows = await query<{ key: string; images: number }>(
      `SELECT idempotency_key AS key, sum(images_delivered)::int AS images FROM generations
        WHERE idempotency_key IS NOT NULL GROUP BY idempotency_key`,
    );
    const delivered = new Map(rows.map(({ key, images }) => [key, images]));
    for (const { idempotencyKey, images, answer } of calls.answered) {
      if (idempotencyKey === null) continue;
      const answered: number = answer.expect(200).body.data.length;
      expect([idempotencyKey, delivered.get(idempotencyKey)]).toEqual([idempotencyKey, answered]);
      expect(answered).toBeLessThanOrEqual(images);
    }
  }

  it('of a process that was thought dead and comes back hand out what was charged in the meantime, and nothing else', async () => {
    calls.start(CLIENTS);
    await someAnswers(CLIENTS);
    process.kill(service.pid, 'SIGSTOP');
    const wasOpen = await openWork();
    await recover();
    process.kill(service.pid, 'SIGCONT');
    await calls.stop();
    // Stopped in the middle of a batch, it kept the wallet locked: what waited for it comes with the next look.
    await recover(2 * RECOVERY_DUE_MS);
    const failed = calls.answered.filter(({ answer }) => answer.status !== 200);
    process.stderr.write(
      `chaos: stopped with ${JSON.stringify(wasOpen)} open, ${failed.length} of ${calls.calls.length} calls failed\n`,
    );
    expect(calls.cut).toEqual([]);
    expect(await openWork()).toEqual({ holds: 0, calls: 0 });
    await expectReceiptsToAgree(calls, PLENTY_MICROS);
    await expectImagesToBeKept(calls);
  });

  it('say the truth about their charge while the database server is killed with -9', async () => {
    calls.start(CLIENTS);
    for (let round = 0; round < 2; round += 1) {
      await someAnswers(CLIENTS);
      process.kill(await databaseServerIn(dataDir), 'SIGKILL');
      const delivered = calls.answered.filter(({ answer }) => answer.status === 200).length;
      await eventually('images are delivered again', () => {
        return calls.answered.filter(({ answer }) => answer.status === 200).length > delivered + CLIENTS;
      });
    }
    await calls.stop();
    const statuses = calls.answered.map(({ answer }) => answer.body.error?.code ?? answer.status);
    process.stderr.write(`chaos: answers were ${JSON.stringify(countOf(statuses))}\n`);
    expect(calls.cut).toEqual([]);
    await recover();
    expect(await openWork()).toEqual({ holds: 0, calls: 0 });
    await expectReceiptsToAgree(calls, PLENTY_MICROS);
    await expectImagesToBeKept(calls);
  });
});

function countOf(values: readonly (string | number)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
