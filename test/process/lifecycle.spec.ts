/* eslint-disable @typescript-eslint/no-explicit-any -- documents are inspected as plain JSON */
import { randomBytes } from 'node:crypto';
import { readFile, readdir, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { makeApiKey } from '../../src/identity/auth/credentials.js';
import { eventually, isRunning } from '../support/processes.js';
import { COMPILED_SOURCES } from '../support/process/program-arguments.js';
import { runCli } from '../support/process/run-cli.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  type ProcessEnd,
  removeDataDir,
  type ServiceOptions,
  ServiceProcess,
} from '../support/process/service-process.js';
import { TestClient } from '../support/app/test-client.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

/** Every test starts a process or two, on a machine that may be busy with other tests. */
jest.setTimeout(60_000);

const GATEWAYS = 16;
const IMAGE_LATENCY_MS = 1_500;

let dataDir: string;
let port: number;
const running = new Set<ServiceProcess>();

beforeAll(async () => {
  dataDir = await createDataDir();
  port = await chooseServicePort();
});
afterEach(async () => {
  for (const service of running) await service.kill();
  running.clear();
});
afterAll(() => removeDataDir(dataDir));

async function start(options: Partial<ServiceOptions> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.start({ dataDir, port, ...options });
  running.add(service);
  return service;
}

/** A start that is expected to fail: how it ended. */
function failToStart(
  env: Record<string, string>,
  options: Partial<ServiceOptions> = {},
): Promise<ProcessEnd> {
  return ServiceProcess.spawn({ dataDir, port, env, ...options }).ended;
}

async function readJson(...names: string[]): Promise<any> {
  return JSON.parse(await readFile(path.join(dataDir, ...names), 'utf8'));
}

async function mode(...names: string[]): Promise<number> {
  return (await stat(path.join(dataDir, ...names))).mode & 0o777;
}

describe('a first start without any setting', () => {
  it('gives a newcomer an account to try, in files that no one else can read, and keeps it across restarts', async () => {
    const first = await start();
    const demo = await readJson('demo.json');
    expect(demo).toEqual({
      base_url: first.url,
      account_id: expect.stringMatching(/^acct_/),
      api_key: expect.stringMatching(/^sk-cof-/),
      operator_key: expect.any(String),
      stripe_api_base: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    });
    expect(await Promise.all([mode('demo.json'), mode('secrets.json')])).toEqual([0o600, 0o600]);
    const client = new TestClient(first.url, demo.api_key);
    const wallet = (await client.get('/v1/wallet')).expect(200);
    expect(wallet.body).toMatchObject({ account: demo.account_id, posted_micros: '0' });
    expect(wallet.headers.get('x-coffer-sandbox')).toBe('stripe, black-forest-labs');
    const ports = await readJson('sandbox', 'ports.json');

    const ended = await first.stop();
    expect({ code: ended.code, signal: ended.signal }).toEqual({ code: 0, signal: null });
    await start();
    expect(await readJson('demo.json')).toEqual(demo);
    expect(await readJson('sandbox', 'ports.json')).toEqual(ports);
    (await client.get('/v1/wallet')).expect(200);
  });

  it('says on its page that parts are simulated', async () => {
    const service = await start();
    const { body } = await service.client(null).get('/');
    expect(body).toContain('Sandbox.');
    expect(body).toContain('Stripe and Black Forest Labs are simulated');
  });
});

describe('the simulators', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
  });
  afterAll(() => database.drop());

  const STRIPE = {
    STRIPE_SECRET_KEY: 'sk_test_0123456789abcdef',
    STRIPE_WEBHOOK_SECRET: 'whsec_0123456789abcdef0123456789abcdef',
  };
  const BLACK_FOREST_LABS = { BFL_API_KEY: 'bfl_0123456789abcdef' };

  it('take each its own part only: what is configured stays real', async () => {
    const ownDataDir = await createDataDir();
    const env = { DATABASE_URL: database.serviceUrl, ...STRIPE };
    const service = await start({ dataDir: ownDataDir, env });
    const { headers } = await service.client(null).get('/health/ready');
    expect(headers.get('x-coffer-sandbox')).toBe('black-forest-labs');
    const files = await readdir(ownDataDir);
    expect(files).not.toContain('demo.json');
    expect(files).not.toContain('postgres');
    await removeDataDir(ownDataDir);
  });

  it('are never loaded in production', async () => {
    const ownDataDir = await createDataDir();
    const coverage = path.join(ownDataDir, 'loaded');
    const env = {
      ...STRIPE,
      ...BLACK_FOREST_LABS,
      NODE_ENV: 'production',
      LOG_LEVEL: 'info',
      RATE_LIMIT: 'on',
      DATABASE_URL: database.serviceUrl,
      PUBLIC_URL: 'https://coffer.test',
      COFFER_OPERATOR_KEY: makeApiKey('operator_key'),
      COFFER_MASTER_KEYS: `first:${randomBytes(32).toString('base64')}`,
      TRUSTED_PROXIES: 'none',
      ALLOW_STRIPE_TEST_MODE: 'yes',
      // Node writes down there which scripts it has loaded.
      NODE_V8_COVERAGE: coverage,
    };
    const service = ServiceProcess.spawn({ dataDir: ownDataDir, port, env, compiled: COMPILED_SOURCES });
    running.add(service);
    const client = service.client(null);
    await eventually('the service is ready', async () => {
      const answer = await client.get('/health/ready').catch(() => null);
      return answer?.status === 200;
    });
    expect((await client.get('/health/ready')).headers.get('x-coffer-sandbox')).toBeNull();
    expect((await client.get('/')).body).not.toContain('Sandbox');
    expect(service.output).toContain('ALLOW_STRIPE_TEST_MODE=yes: Stripe runs in test mode');
    await service.stop();
    const [file = ''] = await readdir(coverage);
    const { result } = JSON.parse(await readFile(path.join(coverage, file), 'utf8')) as {
      result: { url: string }[];
    };
    const loaded = result
      .filter(({ url }) => url.startsWith(COMPILED_SOURCES.href))
      .map(({ url }) => url.slice(COMPILED_SOURCES.href.length));
    expect(loaded.length).toBeGreaterThan(100);
    const unwanted = /coffer-sandbox|^bootstrap\/(first-run|embedded-postgres\/embedded-postgres)/;
    expect(loaded.filter((file) => unwanted.test(file))).toEqual([]);
    await removeDataDir(ownDataDir);
  });

  it('do not make up for what production lacks: it refuses to start and names everything at once', async () => {
    const ended = await failToStart({
      NODE_ENV: 'production',
      RATE_LIMIT: 'off',
      STRIPE_SECRET_KEY: 'sk_test_changeme',
    });
    expect(ended.code).toBe(1);
    for (const name of [
      'PUBLIC_URL',
      'DATABASE_URL',
      'STRIPE_WEBHOOK_SECRET',
      'BFL_API_KEY',
      'COFFER_MASTER_KEYS',
      'TRUSTED_PROXIES',
    ]) {
      expect(ended.output).toContain(`${name} is required in production`);
    }
    expect(ended.output).toContain('STRIPE_SECRET_KEY looks like a placeholder');
    expect(ended.output).toContain('RATE_LIMIT cannot be off in production');
    expect(ended.output).not.toContain('changeme');
    expect(ended.output).not.toContain('    at ');
  });
});

describe('a start that cannot succeed says what to do', () => {
  it('of a worker over the embedded database, which belongs to the service', async () => {
    const ended = await runCli([], { program: 'worker', env: { COFFER_DATA_DIR: dataDir } });
    expect(ended.status).toBe(1);
    expect(ended.stderr).toContain('set DATABASE_URL for both');
    expect(ended.stderr).not.toMatch(/ {4}at |simulated/);
  });

  it('when production has another image provider than the catalogue’s routes name', async () => {
    const database = await createTestDatabase();
    try {
      const ended = await failToStart({
        NODE_ENV: 'production',
        RATE_LIMIT: 'on',
        DATABASE_URL: database.serviceUrl,
        PUBLIC_URL: 'https://coffer.test',
        TRUSTED_PROXIES: 'none',
        STRIPE_SECRET_KEY: 'sk_live_0123456789abcdef',
        STRIPE_WEBHOOK_SECRET: 'whsec_0123456789abcdefghijklmnopqrstuv',
        COFFER_OPERATOR_KEY: makeApiKey('operator_key'),
        COFFER_MASTER_KEYS: `first:${randomBytes(32).toString('base64')}`,
        OPENAI_COMPATIBLE_API_BASE: 'http://127.0.0.1:9/v1',
        OPENAI_COMPATIBLE_API_KEY: 'oai_0123456789abcdef',
      });
      expect(ended.code).toBe(1);
      expect(ended.output).toContain('BFL_API_KEY is required in production');
      expect(ended.output).toContain('black-forest-labs/flux-2-klein-9b');
      expect(ended.output).not.toContain('    at ');
    } finally {
      await database.drop();
    }
  });

  it('when the port is taken', async () => {
    const other = createServer().listen(port, '127.0.0.1');
    await once(other, 'listening');
    try {
      const ended = await failToStart({});
      expect(ended.code).toBe(1);
      expect(ended.output).toContain(`127.0.0.1:${port} is in use by another process`);
      expect(ended.output).not.toContain('    at ');
    } finally {
      other.close();
    }
  });

  it('when the database cannot be used, without showing its password', async () => {
    const database = await createTestDatabase();
    await database.drop();
    const url = new URL(database.url);
    url.password = 'hunter2secret';
    const ended = await failToStart({ DATABASE_URL: url.href });
    expect(ended.code).toBe(1);
    expect(ended.output).toContain('The database of DATABASE_URL cannot be used');
    expect(ended.output).not.toContain('hunter2secret');
  });
});

describe('a stop', () => {
  it('finishes what was accepted, however long it takes, and its database goes last', async () => {
    const service = await start();
    const demo = await readJson('demo.json');
    const ports = await readJson('sandbox', 'ports.json');
    const upstream = new TestClient(`http://127.0.0.1:${ports['black-forest-labs']}`, null);
    (await upstream.post('/_sandbox/settings', { latency_ms: IMAGE_LATENCY_MS })).expect(200);
    const grant = { amount_micros: '10000000', reason: 'to be spent' };
    (await service.client().post(`/v1/accounts/${demo.account_id}/grants`, grant)).expect(201);
    const postgres = await databaseServerIn(dataDir);

    const load = debitsUntilRefused(service.client(), demo.account_id);
    const image = new TestClient(service.url, demo.api_key).post('/v1/images/generations', {
      model: 'black-forest-labs/flux-2-klein-9b',
      prompt: 'accepted before the end',
      response_format: 'b64_json',
    });
    await eventually('there is load', () => load.answers.length > 100);
    const ended = await service.stop();
    await load.finished;

    const answer = (await image).expect(200);
    expect(answer.headers.get('x-charged-micros')).toBe('40000');
    expect(new Set(load.answers)).toEqual(new Set([201]));
    expect(ended.code).toBe(0);
    expect(await isRunning(postgres)).toBe(false);

    const again = await start();
    const { body } = (await again.client().get(`/v1/accounts/${demo.account_id}/wallet`)).expect(200);
    expect(body.held_micros).toBe('0');
    // Whatever was acknowledged is there; a request that the end cut off before its answer may be, too.
    const spent = 10_000_000 - Number(body.posted_micros) - 40_000;
    expect(spent).toBeGreaterThanOrEqual(load.answers.length);
    expect(spent).toBeLessThanOrEqual(load.answers.length + GATEWAYS);
  });

  it('turns readiness red and goes on serving until the load balancer has noticed', async () => {
    const service = await start({ env: { SHUTDOWN_DELAY_SECONDS: '2' } });
    const stopped = service.stop();
    const client = service.client();
    await eventually('readiness is red', async () => (await client.get('/health/ready')).status === 503);
    const { body } = await client.get('/health/ready');
    expect(body).toMatchObject({ status: 'unavailable', parts: { process: 'draining', database: 'ok' } });
    (await client.get('/health/live')).expect(200);
    (await client.get('/v1/accounts')).expect(200);
    expect((await stopped).code).toBe(0);
  });

  it('happens at once when it is asked for twice, and the next start cleans up', async () => {
    const service = await start({ env: { SHUTDOWN_DELAY_SECONDS: '60' } });
    void service.stop();
    await eventually(
      'it is draining',
      async () => (await service.client().get('/health/ready')).status === 503,
    );
    // What comes within half a second of the first is taken for the same signal, passed on by npm.
    await eventually('it has left', () => {
      if (service.isRunning) void service.stop();
      return !service.isRunning;
    });
    expect((await service.ended).code).toBe(1);
    const again = await start();
    (await again.client().get('/health/ready')).expect(200);
    expect((await again.stop()).code).toBe(0);
  });
});

/** So many gateways debit one micro-dollar after the other, until no one answers any more. */
function debitsUntilRefused(client: TestClient, account: string) {
  const answers: number[] = [];
  const gateway = async (name: number): Promise<void> => {
    for (let count = 0; ; count += 1) {
      const reference = `stop-${name}-${count}`;
      const answer = await client
        .post('/v1/debits', { account, reference, amount_micros: '1' })
        .catch(() => null);
      if (answer === null) return;
      answers.push(answer.status);
    }
  };
  const finished = Promise.all(Array.from({ length: GATEWAYS }, (_, name) => gateway(name)));
  return { answers, finished };
}
