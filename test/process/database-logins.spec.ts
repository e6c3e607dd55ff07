import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { makeApiKey } from '../../src/identity/auth/credentials.js';
import { clusterPaths } from '../../src/bootstrap/embedded-postgres/cluster.js';
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { CleanUp } from '../support/clean-up.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  runProgram,
  ServiceProcess,
} from '../support/process/service-process.js';

const PASSWORD = randomBytes(12).toString('hex');
const cleanUp = new CleanUp();
let port: number;

beforeAll(async () => {
  port = await chooseServicePort();
});
afterAll(() => cleanUp.run());

async function dataDirectory(): Promise<string> {
  const dir = await createDataDir();
  cleanUp.add(() => removeDataDir(dir));
  return dir;
}

async function query(url: string, ...statements: readonly string[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const sql of statements) ({ rows } = await client.query<Record<string, unknown>>(sql));
    return rows;
  } finally {
    await client.end();
  }
}

/** Starts, spends what an account was given, and stops. Answers what it printed. */
async function spendOn(env: Record<string, string>): Promise<string> {
  const service = await ServiceProcess.start({ dataDir: await dataDirectory(), port, env });
  try {
    const operator = service.client();
    const account = String((await operator.post('/v1/accounts', { name: 'Test' })).expect(201).body.id);
    const grant = { amount_micros: '1000000', reason: 'test credit' };
    (await operator.post(`/v1/accounts/${account}/grants`, grant)).expect(201);
    const debit = { account, amount_micros: '40000', reference: 'one' };
    (await operator.post('/v1/debits', debit)).expect(201);
    return service.output;
  } finally {
    await service.stop();
  }
}

async function failToStart(env: Record<string, string>): Promise<string> {
  const ended = await ServiceProcess.spawn({ dataDir: await dataDirectory(), port, env }).ended;
  expect(ended.code).toBe(1);
  expect(ended.output).not.toContain('    at ');
  return ended.output;
}

const inProduction = () => ({
  NODE_ENV: 'production',
  RATE_LIMIT: 'on',
  PUBLIC_URL: 'https://coffer.test',
  STRIPE_SECRET_KEY: `sk_live_${randomBytes(12).toString('hex')}`,
  STRIPE_WEBHOOK_SECRET: `whsec_${randomBytes(16).toString('hex')}`,
  BFL_API_KEY: `bfl_${randomBytes(12).toString('hex')}`,
  COFFER_OPERATOR_KEY: makeApiKey('operator_key'),
  COFFER_MASTER_KEYS: `first:${randomBytes(32).toString('base64')}`,
  TRUSTED_PROXIES: '127.0.0.1',
});

/** A server that no Coffer has been on: it has no role of ours, and its administrator can make roles. */
describe('a database server of somebody else', () => {
  let server: EmbeddedPostgres;

  beforeAll(async () => {
    server = await startEmbeddedPostgres({ dataDir: await dataDirectory(), log: () => undefined });
    cleanUp.add(() => server.stop());
  });

  /** As an administrator does it: a login, and a database that it owns. */
  async function createOwned(name: string, ...more: readonly string[]): Promise<string> {
    await query(
      server.ownerUrl,
      `CREATE ROLE ${name} LOGIN PASSWORD '${PASSWORD}'`,
      `GRANT ${name} TO CURRENT_USER`,
      `CREATE DATABASE ${name} OWNER ${name}`,
      ...more,
    );
    return urlOf(name, name);
  }

  function urlOf(login: string, database: string): string {
    const url = new URL(server.ownerUrl);
    [url.username, url.password, url.pathname] = [login, PASSWORD, `/${database}`];
    return url.href;
  }

  it('is migrated and used by an ordinary role that owns its database, which every start warns of', async () => {
    const url = await createOwned('ordinary');
    const warning = 'The login ordinary of DATABASE_URL owns the database';
    expect(await spendOn({ DATABASE_URL: url })).toContain(warning);
    expect(await spendOn({ DATABASE_URL: url })).toContain(warning);
    expect(await query(url, `SELECT FROM pg_roles WHERE rolname = 'coffer_app'`)).toEqual([]);
    expect((await runProgram(['cli', 'doctor'], { DATABASE_URL: url })).output).toContain('CLEAN');

    const refused = await failToStart({ ...inProduction(), DATABASE_URL: url });
    expect(refused).toMatch(
      /The login ordinary of DATABASE_URL owns the database.*coffer migrate.*MIGRATION_DATABASE_URL/s,
    );
    const allowed = {
      ...inProduction(),
      DATABASE_URL: url,
      ALLOW_OWNER_DATABASE_LOGIN: 'yes',
      LOG_LEVEL: 'info',
    };
    const service = ServiceProcess.spawn({ dataDir: await dataDirectory(), port, env: allowed });
    await service.untilPrinted('Coffer is ready');
    expect(service.output).toContain('Only triggers');
    await service.stop();
  });

  it('serves two ordinary roles, of which the service’s can rewrite nothing', async () => {
    const MIGRATION_DATABASE_URL = await createOwned(
      'keeper',
      `CREATE ROLE clerk LOGIN PASSWORD '${PASSWORD}'`,
    );
    const DATABASE_URL = urlOf('clerk', 'keeper');
    const lacking = await failToStart({ DATABASE_URL });
    expect(lacking).toMatch(
      /lacks \d+ of this version's migrations.*`coffer migrate` with MIGRATION_DATABASE_URL/s,
    );

    const migrated = await runProgram(['cli', 'migrate'], { MIGRATION_DATABASE_URL, DATABASE_URL });
    expect(migrated).toMatchObject({ code: 0, output: expect.stringContaining('and nothing else') });
    expect(await spendOn({ DATABASE_URL })).not.toContain('owns the database');
    const production = { ...inProduction(), DATABASE_URL, LOG_LEVEL: 'info' };
    const service = ServiceProcess.spawn({ dataDir: await dataDirectory(), port, env: production });
    await service.untilPrinted('Coffer is ready');
    await service.stop();
    expect((await runProgram(['cli', 'doctor'], { DATABASE_URL })).output).toContain('CLEAN');
    expect((await runProgram(['cli', 'catalog', 'diff'], { DATABASE_URL })).output).toContain(
      'Nothing differs',
    );
    for (const sql of [
      'DELETE FROM transfers',
      'SET ROLE keeper',
      'ALTER TABLE transfers DISABLE TRIGGER USER',
    ]) {
      await expect(query(DATABASE_URL, sql)).rejects.toMatchObject({ code: '42501' });
    }
  });

  it('reads the one statement that its administrator has to run, when the service’s login is missing', async () => {
    const MIGRATION_DATABASE_URL = await createOwned('alone');
    const env = { MIGRATION_DATABASE_URL, DATABASE_URL: urlOf('missing', 'alone') };
    const expected = `CREATE ROLE "missing" LOGIN PASSWORD '<the password in DATABASE_URL>'`;
    const migrated = await runProgram(['cli', 'migrate'], env);
    expect(migrated).toMatchObject({ code: 2, output: expect.stringContaining(expected) });
    expect(await failToStart(env)).toContain(expected);
    expect(migrated.output).not.toContain(PASSWORD);
  });

  // Last: from here on the server has the role.
  it('gets the service’s login made by an owner that may make roles, at its start or by `coffer migrate`', async () => {
    const MIGRATION_DATABASE_URL = await createOwned('maker', 'ALTER ROLE maker CREATEROLE');
    const alone = await runProgram(['cli', 'migrate'], { MIGRATION_DATABASE_URL });
    expect(alone).toMatchObject({
      code: 0,
      output: expect.stringContaining('GRANT coffer_app TO coffer_service'),
    });
    const DATABASE_URL = urlOf('made', 'maker');
    await spendOn({ MIGRATION_DATABASE_URL, DATABASE_URL });
    expect(await query(DATABASE_URL, `SELECT pg_has_role('coffer_app', 'MEMBER') AS member`)).toEqual([
      { member: true },
    ]);
    expect(await spendOn({ DATABASE_URL })).not.toContain('owns the database');
  });
});

describe('our own database', () => {
  it('has two logins, also one that an earlier version made', async () => {
    const dataDir = await dataDirectory();
    const first = await ServiceProcess.start({ dataDir, port });
    await first.stop();
    // As an earlier version made it.
    const { pgData } = clusterPaths(dataDir);
    let server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    await query(
      server.ownerUrl,
      'DROP ROLE coffer_service',
      'GRANT USAGE ON SCHEMA public TO coffer_app',
      'GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO coffer_app',
      'GRANT coffer_app TO CURRENT_USER',
    );
    await server.stop();
    await writeFile(path.join(pgData, 'pg_hba.conf'), 'host all coffer 127.0.0.1/32 scram-sha-256\n');
    const early = await runProgram(['cli', 'doctor'], { COFFER_DATA_DIR: dataDir });
    expect(early).toMatchObject({ code: 2, output: expect.stringContaining('start the service on it once') });
    await writeFile(path.join(pgData, 'pg_hba.conf'), 'host all coffer 127.0.0.1/32 scram-sha-256\n');

    const service = await ServiceProcess.start({ dataDir, port });
    expect(service.output).not.toContain('owns the database');
    expect((await runProgram(['cli', 'doctor'], { COFFER_DATA_DIR: dataDir })).output).toContain('CLEAN');
    await service.stop();
    expect(await readFile(path.join(pgData, 'pg_hba.conf'), 'utf8')).toContain(
      'host all postgres all reject',
    );
    server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    await expect(query(server.url, 'UPDATE transfers SET memo = memo')).rejects.toMatchObject({
      code: '42501',
    });
    expect(await query(server.url, 'SELECT session_user AS login')).toEqual([{ login: 'coffer_service' }]);
    await server.stop();
  });
});
