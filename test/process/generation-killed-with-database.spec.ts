import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import {
  type SandboxBlackForestLabs,
  startSandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { recoverGenerations } from '../support/images/recovery.js';
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

const UPSTREAM_KEY = 'bfl_chaos_upstream_key';
jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('the service and its database server are killed with -9 in the same moment', () => {
  const cleanUp = new CleanUp();
  let dataDir: string;
  let port: number;
  let upstream: SandboxBlackForestLabs;
  let service: ServiceProcess;

  beforeAll(async () => {
    dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    port = await chooseServicePort();
    upstream = await startSandboxBlackForestLabs({
      apiKey: UPSTREAM_KEY,
      instant: true,
      activeTasksMax: null,
    });
    cleanUp.add(() => upstream.close());
    await writeFile(path.join(dataDir, 'steps'), '');
    await start();
  });

  afterEach(async () => withDatabase(await databaseUrlIn(dataDir), expectBooksToBalance));

  afterAll(() => cleanUp.run());

  async function start(): Promise<void> {
    const env = {
      BFL_API_KEY: UPSTREAM_KEY,
      BFL_API_BASE: upstream.baseUrl,
      COFFER_JOBS: 'off',
      COFFER_TEST_STEPS: path.join(dataDir, 'steps'),
    };
    const started = ServiceProcess.spawn({ dataDir, port, env, preload: 'stop-at-steps.mjs' });
    cleanUp.add(() => started.kill());
    await started.untilPrinted('standing by');
    await started.sendLine('go', 'Coffer is ready at');
    service = started;
  }

  function send(apiKey: string, headers: Readonly<Record<string, string>>): Promise<string | null> {
    return fetch(`http://127.0.0.1:${port}/v1/images/generations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: MODEL, prompt: 'a fox', size: '64x64' }),
    }).then(
      (answer) => answer.text(),
      () => null,
    );
  }

  async function killBothAt(step: string): Promise<void> {
    await service.untilPrinted('stopped').catch((error: unknown) => {
      throw new Error(`it never came to '${step}'`, { cause: error });
    });
    process.kill(await databaseServerIn(dataDir), 'SIGKILL');
    await service.kill();
  }

  const STEPS = [
    ['its credit is set aside', 'write_lone:w,nh; commit'],
    ['the provider is asked', 'POST /v1/flux-2-klein-9b'],
    ['its image is stored', 'file written'],
    ['it is charged', 'write_lone:t,w,l,h; commit'],
    ['its outcome is written down', 'generation_save (2)'],
  ];
  const FIRST = [
    ['with an idempotency key', { 'idempotency-key': 'the-call' }, { 'idempotency-key': 'the-call' }],
    ['by an SDK without one', { 'x-stainless-retry-count': '0' }, { 'x-stainless-retry-count': '1' }],
  ] as const;
  const cases = STEPS.flatMap(([stage = '', step = '']) =>
    FIRST.map(([who, first, again]) => ({ stage, step, who, first, again })),
  );

  it.each(cases)('when $stage: a call $who is charged once', async ({ step, first, again }) => {
    const account = await newAccount(service, PLENTY_MICROS);
    const apiKey = await newApiKey(service, account, ['generate', 'wallet:read']);
    await service.sendLine(`stop at ${step}`, 'heard');
    const cut = send(apiKey, first);
    await killBothAt(step);
    const received = await cut;
    await start();
    await recoverGenerations({
      databaseUrl: await databaseUrlIn(dataDir),
      dataDir,
      upstream: { apiKey: UPSTREAM_KEY, baseUrl: upstream.baseUrl },
    });
    // An SDK does not send again what was answered: without a key the outcome is written after the answer.
    if (received === null) {
      const answer = await send(apiKey, again);
      expect(JSON.parse(answer ?? '').data).toHaveLength(1);
      if ('idempotency-key' in again) expect(await send(apiKey, again)).toBe(answer);
    }
    const { body: wallet } = (await service.client(apiKey).get('/v1/wallet')).expect(200);
    expect(wallet).toMatchObject({
      posted_micros: String(BigInt(PLENTY_MICROS) - PRICE_MICROS),
      held_micros: '0',
    });
  });
});
