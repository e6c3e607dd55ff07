import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import sharp from 'sharp';
import { CLOCK, type Clock } from '../../src/common/clock.js';
import { BFL_ACTIVE_TASKS_DEFAULT } from '../../src/config/settings.js';
import { GenerationRecovery } from '../../src/generation/recovery/generation-recovery.service.js';
import { OrphanedHolds } from '../../src/generation/recovery/orphaned-holds.service.js';
import {
  type SandboxBlackForestLabs,
  startSandboxBlackForestLabs,
} from '../../src/sandbox/black-forest-labs/server.js';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { expectBooksToBalance } from '../support/invariants.js';
import { eventually } from '../support/processes.js';
import { seededRandom } from '../support/seeded-random.js';
import { newAccount, newApiKey, PLENTY_MICROS } from '../support/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/service-process.js';
import type { TestAnswer, TestClient } from '../support/test-client.js';
import { startTestApp } from '../support/test-app.js';

const CUSTOMERS = 12;
const IMAGE_MICROS = 40_000;
const IMAGES_MAX = 3;
const EDGE_PIXELS = 64;
const MODEL = 'black-forest-labs/flux-2-klein-9b';
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';
/** Long enough that a kill meets every stage of a call, short enough to make many calls. */
const IMAGE_LATENCY_MS = 150;
/** The provider took the request and never said so: nobody knows of a task. */
const SILENT = '[sandbox:submit=hang]';
const SILENT_CALLS = 2;
/** After this, neither a lease nor a hold of a dead process counts any more: recovery's bound. */
const RECOVERY_DUE_MS = 120_000;

/** One image call, as its customer sees it. */
type Call = {
  readonly prompt: string;
  readonly images: number;
  readonly idempotencyKey: string | null;
  answer: TestAnswer | null;
};

type Receipt = {
  readonly id: string;
  readonly status: string;
  readonly images_delivered: number;
  readonly charged_micros: string;
  readonly hold: string;
  readonly images: readonly { readonly url: string; readonly bytes: number }[];
};

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('the service is killed with -9 during image calls', () => {
  const random = seededRandom('generation killed');
  const cleanUp = new CleanUp();
  const masterKey = randomBytes(32);
  const calls: Call[] = [];
  let dataDir: string;
  let port: number;
  let upstream: SandboxBlackForestLabs;
  let service: ServiceProcess;
  let customer: TestClient;

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
    const account = await newAccount(service, PLENTY_MICROS);
    customer = service.client(await newApiKey(service, account, ['generate', 'wallet:read']));
  });

  afterAll(() => cleanUp.run());

  async function start(): Promise<void> {
    const env = {
      BFL_API_KEY: UPSTREAM_KEY,
      BFL_API_BASE: upstream.baseUrl,
      COFFER_MASTER_KEYS: `chaos:${masterKey.toString('base64')}`,
    };
    service = await ServiceProcess.start({ dataDir, port, env });
    const started = service;
    cleanUp.add(() => started.kill());
  }

  async function send(call: Call): Promise<void> {
    const { prompt, images: n, idempotencyKey } = call;
    const headers = idempotencyKey === null ? {} : { 'idempotency-key': idempotencyKey };
    const body = { model: MODEL, prompt, n, size: `${EDGE_PIXELS}x${EDGE_PIXELS}` };
    call.answer = await customer.post('/v1/images/generations', body, headers).catch(() => null);
  }

  /** One call after the other, until one gets no answer. */
  async function callUntilCut(): Promise<void> {
    for (let isCut = false; !isCut;) {
      const number = calls.length;
      const idempotencyKey = random.next() < 0.5 ? `call-${number}` : null;
      isCut = (await begin(`image ${number}`, idempotencyKey)).answer === null;
    }
  }

  async function begin(prompt: string, idempotencyKey: string | null): Promise<Call> {
    const call: Call = { prompt, images: random.between(1, IMAGES_MAX), idempotencyKey, answer: null };
    calls.push(call);
    await send(call);
    return call;
  }

  const answered = (): Call[] => calls.filter(({ answer }) => answer !== null);

  /** What the jobs of any process do once the dead one's leases are over; here at once. */
  async function recover(): Promise<void> {
    const blackForestLabs = {
      apiKey: UPSTREAM_KEY,
      apiBase: new URL(upstream.baseUrl),
      activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT,
    };
    const beside = await startTestApp({
      databaseUrl: await databaseUrlIn(dataDir),
      settings: { dataDir, blackForestLabs, masterKeys: [{ id: 'chaos', key: masterKey }] },
    });
    const clock = jest.spyOn(beside.app.get<Clock>(CLOCK), 'nowMs');
    try {
      clock.mockImplementation(() => Date.now() + RECOVERY_DUE_MS);
      await beside.app.get(GenerationRecovery).recoverDue();
      await beside.app.get(OrphanedHolds).release();
    } finally {
      clock.mockRestore();
      await beside.close();
    }
  }

  async function receipts(): Promise<Receipt[]> {
    const found: Receipt[] = [];
    for (let after = ''; ; after = `&starting_after=${found.at(-1)?.id}`) {
      const { body } = (await customer.get(`/v1/generations?limit=100${after}`)).expect(200);
      found.push(...body.data);
      if (body.has_more !== true) return found;
    }
  }

  async function expectWholeImage(url: string): Promise<void> {
    const answer = await fetch(url);
    expect(answer.status).toBe(200);
    const { data, info } = await sharp(Buffer.from(await answer.arrayBuffer()))
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: EDGE_PIXELS, height: EDGE_PIXELS });
    expect(data).toHaveLength(info.width * info.height * info.channels);
  }

  async function openWork(): Promise<unknown> {
    const sql = `SELECT (SELECT count(*)::int FROM holds WHERE status = 'authorized') AS holds,
                        (SELECT count(*)::int FROM generations WHERE status IN ('running', 'unresolved')) AS calls`;
    return withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const [open] = await database.query<unknown[]>(sql);
      return open;
    });
  }

  async function namedTasks(status: 'pending' | 'delivered'): Promise<string[]> {
    const sql = 'SELECT task_id AS task FROM generation_tasks WHERE task_id IS NOT NULL AND status = $1';
    return withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const rows = await database.query<{ task: string }[]>(sql, [status]);
      return rows.map(({ task }) => task);
    });
  }

  it('delivers and charges, or releases, every call that was cut off: delivered = captured, and no hold stays', async () => {
    for (let round = 0; round < 2; round += 1) {
      const silent = Array.from({ length: SILENT_CALLS }, () => begin(SILENT, null));
      const callers = Array.from({ length: CUSTOMERS }, callUntilCut);
      const target = answered().length + random.between(1, 3 * CUSTOMERS);
      await eventually('some calls are answered', () => answered().length >= target);
      await sleep(random.between(0, IMAGE_LATENCY_MS));
      await service.kill();
      await Promise.all([...silent, ...callers]);
      await start();
    }
    const begun = await namedTasks('pending');
    const cut = calls.filter(({ answer }) => answer === null);
    process.stderr.write(
      `chaos: ${answered().length} calls answered, ${cut.length} cut; ` +
        `open ${JSON.stringify(await openWork())}, ${begun.length} tasks under way\n`,
    );
    await recover();
    expect(await openWork()).toEqual({ holds: 0, calls: 0 });
    // What the provider had been asked for, it made: so it is delivered.
    const delivered = new Set(await namedTasks('delivered'));
    expect(begun.filter((task) => !delivered.has(task))).toEqual([]);
    await expectReceiptsToAgree();
    for (const { answer, images } of answered()) expect(answer?.body.data).toHaveLength(images);

    // Whoever had a key learns now what became of the call, and pays for it once.
    await Promise.all(cut.filter(({ idempotencyKey }) => idempotencyKey !== null).map(send));
    await expectReceiptsToAgree();
    await expectKeyedCallsOnce();
    await expectImagesToBeKept();
    await withDatabase(await databaseUrlIn(dataDir), expectBooksToBalance);
  });

  /** The receipts, the answers and the wallet tell one story. */
  async function expectReceiptsToAgree(): Promise<void> {
    const all = await receipts();
    const byId = new Map(all.map((receipt) => [receipt.id, receipt]));
    let charged = 0;
    for (const { status, images_delivered: delivered, charged_micros: micros, images } of all) {
      expect(status).toBe(delivered > 0 ? 'succeeded' : 'failed');
      expect(micros).toBe(String(delivered * IMAGE_MICROS));
      expect(images).toHaveLength(delivered);
      charged += delivered * IMAGE_MICROS;
    }
    for (const { answer } of answered()) {
      if (answer?.status !== 200)
        throw new Error(`answered ${answer?.status}: ${JSON.stringify(answer?.body)}`);
      const receipt = byId.get(answer.headers.get('x-generation-id') ?? '');
      expect(receipt).toMatchObject({
        status: 'succeeded',
        images_delivered: answer.body.data.length,
        charged_micros: answer.headers.get('x-charged-micros'),
      });
    }
    const { body: wallet } = (await customer.get('/v1/wallet')).expect(200);
    expect(wallet).toMatchObject({ posted_micros: String(PLENTY_MICROS - charged), held_micros: '0' });
  }

  /** A kill can come between two tasks of a call: then the images that were begun are delivered, and charged. */
  async function expectKeyedCallsOnce(): Promise<void> {
    const sql = `SELECT idempotency_key AS key, sum(images_delivered)::int AS images FROM generations
                  WHERE idempotency_key IS NOT NULL GROUP BY idempotency_key`;
    await withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const rows = await database.query<{ key: string; images: number }[]>(sql);
      const delivered = new Map(rows.map(({ key, images }) => [key, images]));
      for (const { idempotencyKey, images, answer } of calls) {
        if (idempotencyKey === null) continue;
        const told: number = answer?.body.data.length;
        expect([idempotencyKey, delivered.get(idempotencyKey)]).toEqual([idempotencyKey, told]);
        expect(told).toBeLessThanOrEqual(images);
      }
    });
  }

  /** Also those whose URL was answered by a process that is dead by now. */
  async function expectImagesToBeKept(): Promise<void> {
    const answers = answered().flatMap(({ answer }) => answer?.body.data as { url: string }[]);
    const kept = (await receipts()).flatMap(({ images }) => images);
    await Promise.all([...answers, ...kept].map(({ url }) => expectWholeImage(url)));
  }
});
