import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { createApp } from '../../../src/bootstrap/app.setup.js';
import { makeApiKey } from '../../../src/identity/auth/credentials.js';
import { ACCOUNT_SCOPES, type AccountScope } from '../../../src/identity/auth/principal.js';
import {
  BFL_ACTIVE_TASKS_DEFAULT,
  readSettings,
  type Settings,
} from '../../../src/platform/config/settings.js';
import type { SandboxBlackForestLabs } from 'coffer-sandbox/black-forest-labs/server';
import type { SandboxStripe } from 'coffer-sandbox/stripe/server';
import { CLOCK, type Clock, type MonotonicClock } from '../../../src/platform/common/clock.js';
import { DatabaseClock, LEDGER_CLOCK } from '../../../src/platform/database/ledger-clock.js';
import { drainHttp } from '../../../src/bootstrap/drain-http.js';
import { asService, createTestDatabase } from '../database/test-database.js';
import { TestClock } from './test-clock.js';
import { freePort } from './free-port.js';
import { rememberSecret, testLogger } from './run-log.js';
import './stripe-pauses.js';
import { TestClient } from './test-client.js';

export type TestAppOptions = {
  readonly settings?: Partial<Settings>;
  /**
   * Outside parts to play, each instant unless an option says otherwise. A part that is not played is configured at an
   * address where no one answers. Stripe also turns the jobs on: webhooks are worked off by them.
   */
  readonly stripe?: boolean;
  readonly blackForestLabs?: boolean;
  /** An existing database, for a second process on the same one; `close` leaves it alone. */
  readonly databaseUrl?: string;
  /** By default, and best made by, `testLogger`: silent, and searched for secrets when the run is over. */
  readonly log?: Logger;
};

export type TestApp = {
  readonly app: NestFastifyApplication;
  /** The service's own; the simulators' are others. */
  readonly clock: TestClock;
  readonly settings: Settings;
  /** `http://127.0.0.1:<port>`, without a slash at its end. */
  readonly url: string;
  /** Has every operator scope. */
  readonly operatorKey: string;
  /** As the service connects: with the rights of the service only. */
  readonly dataSource: DataSource;
  /** As the role that owns the database. */
  readonly databaseUrl: string;
  readonly stripe: SandboxStripe | null;
  readonly blackForestLabs: SandboxBlackForestLabs | null;
  /** While it is stopped, an image that takes its time (`[sandbox:slow=…]`) is never ready. */
  readonly upstreamClock: TestClock;
  /** Sends the operator key. */
  readonly operator: TestClient;
  /** Sends this key, or none. */
  client(apiKey: string | null): TestClient;
  /** A customer with credit, and a client that sends a key of its own. */
  createCustomer(options?: CustomerOptions): Promise<TestCustomer>;
  close(): Promise<void>;
};

export type CustomerOptions = {
  readonly name?: string;
  /** Promotional credit; none by default. */
  readonly grantMicros?: bigint;
  readonly scopes?: readonly AccountScope[];
};

export type TestCustomer = {
  readonly accountId: string;
  readonly apiKey: string;
  readonly client: TestClient;
};

const OF_ALL_TESTS = {
  // As in `engine.ts`.
  ENGINE_OVERLAP_FROM: '1',
  // Every customer of a test comes from the same address.
  TOP_UPS_PER_ADDRESS_PER_DAY: '100000',
  FAILED_PAYMENTS_PER_ADDRESS_PER_DAY: '100000',
};

/** No one listens on the discard port; a connection is refused at once. */
const CLOSED_PORT = new URL('http://127.0.0.1:9');
const UNPLAYED_STRIPE = {
  secretKey: 'sk_test_nobody_answers',
  webhookSecret: 'whsec_nobody_signs',
  apiBase: CLOSED_PORT,
};
const UNPLAYED_BLACK_FOREST_LABS = {
  apiKey: 'bfl_nobody_answers',
  apiBase: CLOSED_PORT,
  activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT,
};

/** The whole service in this process, over a database of its own, on a free port. About 0.2 s. */
export async function startTestApp(options: TestAppOptions = {}): Promise<TestApp> {
  const database = options.databaseUrl === undefined ? await createTestDatabase() : null;
  const databaseUrl = options.databaseUrl ?? database?.url ?? '';
  const dataDir = await mkdtemp(path.join(tmpdir(), 'coffer-app-'));
  const port = await freePort();
  const parts = await startParts(options, port);
  const settings: Settings = {
    ...readSettings({ NODE_ENV: 'test', COFFER_DATA_DIR: dataDir, PORT: String(port), ...OF_ALL_TESTS }),
    databaseUrl: asService(databaseUrl),
    operatorKey: makeApiKey('operator_key'),
    masterKeys: [{ id: 'test', key: randomBytes(32) }],
    runJobs: options.stripe === true,
    ...parts.settings,
    ...options.settings,
  };
  rememberSettings(settings);
  const log = options.log ?? testLogger();
  const app = await createApp({ settings, log });
  const clock = TestClock.takeOver(
    app.get<Clock & MonotonicClock>(CLOCK),
    app.get(DatabaseClock),
    app.get<Clock>(LEDGER_CLOCK),
  );
  await app.listen(port, '127.0.0.1');
  const url = `http://127.0.0.1:${port}`;
  const close = async (): Promise<void> => {
    await drainHttp(app, 0, log);
    await app.close();
    await Promise.all([parts.stripe?.close(), parts.blackForestLabs?.close()]);
    await database?.drop();
    await rm(dataDir, { recursive: true, force: true });
  };
  const client = (apiKey: string | null): TestClient => new TestClient(url, apiKey);
  const operatorKey = settings.operatorKey ?? '';
  const operator = client(operatorKey);
  return {
    app,
    clock,
    settings,
    url,
    operatorKey,
    dataSource: app.get(DataSource),
    databaseUrl,
    stripe: parts.stripe,
    blackForestLabs: parts.blackForestLabs,
    upstreamClock: parts.upstreamClock,
    operator,
    client,
    createCustomer: (customer) => createCustomer(operator, client, customer),
    close,
  };
}

function rememberSettings({ masterKeys, stripe, blackForestLabs, operatorKey, s3 }: Settings): void {
  for (const { key } of masterKeys) {
    for (const encoding of ['base64', 'base64url', 'hex'] as const) rememberSecret(key.toString(encoding));
  }
  for (const secret of [stripe?.secretKey, stripe?.webhookSecret, blackForestLabs?.apiKey, operatorKey]) {
    rememberSecret(secret);
  }
  rememberSecret(s3?.accessKey?.id);
  rememberSecret(s3?.accessKey?.secret);
}

type Parts = {
  readonly stripe: SandboxStripe | null;
  readonly blackForestLabs: SandboxBlackForestLabs | null;
  readonly upstreamClock: TestClock;
  readonly settings: Pick<Settings, 'stripe' | 'blackForestLabs'>;
};

async function startParts(options: TestAppOptions, port: number): Promise<Parts> {
  const stripe = options.stripe === true ? await playStripe(port) : null;
  const upstreamClock = new TestClock();
  const blackForestLabs = options.blackForestLabs === true ? await playBlackForestLabs(upstreamClock) : null;
  return {
    stripe: stripe?.server ?? null,
    blackForestLabs: blackForestLabs?.server ?? null,
    upstreamClock,
    settings: {
      stripe: stripe?.settings ?? UNPLAYED_STRIPE,
      blackForestLabs: blackForestLabs?.settings ?? UNPLAYED_BLACK_FOREST_LABS,
    },
  };
}

async function playStripe(port: number) {
  const { startSandboxStripe } = await import('coffer-sandbox/stripe/server');
  const secretKey = `sk_test_${randomBytes(12).toString('hex')}`;
  const webhookSecret = `whsec_${randomBytes(12).toString('hex')}`;
  const webhookEndpoint = { url: `http://127.0.0.1:${port}/webhooks/stripe`, secret: webhookSecret };
  const server = await startSandboxStripe({ apiKey: secretKey, webhookEndpoint, webhookRetryDelayMs: 20 });
  return { server, settings: { secretKey, webhookSecret, apiBase: new URL(server.baseUrl) } };
}

async function playBlackForestLabs(clock: TestClock) {
  const { startSandboxBlackForestLabs } = await import('coffer-sandbox/black-forest-labs/server');
  const apiKey = `bfl_${randomBytes(12).toString('hex')}`;
  const server = await startSandboxBlackForestLabs({ apiKey, instant: true, activeTasksMax: null, clock });
  const apiBase = new URL(server.baseUrl);
  return { server, settings: { apiKey, apiBase, activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT } };
}

async function createCustomer(
  operator: TestClient,
  clientOf: (apiKey: string) => TestClient,
  { name = 'Test customer', grantMicros = 0n, scopes = ACCOUNT_SCOPES }: CustomerOptions = {},
): Promise<TestCustomer> {
  const account = await operator.post('/v1/accounts', { name });
  const accountId = String(account.expect(201).body.id);
  if (grantMicros > 0n) {
    const grant = { amount_micros: String(grantMicros), reason: 'test credit' };
    (await operator.post(`/v1/accounts/${accountId}/grants`, grant)).expect(201);
  }
  const key = await operator.post(`/v1/accounts/${accountId}/api_keys`, { name: 'test key', scopes });
  const apiKey = String(key.expect(201).body.secret);
  return { accountId, apiKey, client: clientOf(apiKey) };
}
