import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { migrate } from '../../src/platform/database/migrate.js';
import { runCli } from '../support/process/run-cli.js';
import { TestBooks } from '../support/database/test-books.js';
import { createTestDatabase, databaseAt } from '../support/database/test-database.js';

describe('coffer doctor', () => {
  let books: TestBooks;
  let accountId: string;
  let url: string;

  beforeAll(async () => {
    books = await TestBooks.open();
    accountId = await books.playEverything();
    url = books.database.url;
  });
  afterAll(() => books.close());

  it('exits 0 with what it examined when the books are clean', async () => {
    const { status, stdout, stderr } = await runCli(['doctor', '--database-url', url]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^CLEAN: /);
    expect(stdout).toMatch(/transfers +3\d\n/);
    expect(stdout).toMatch(/holds +4\n/);
  });

  it('exits 1 with the exact row, what it should hold and what it holds', async () => {
    const { rows } = await books.owner.query<{ posted_micros: string }>(
      'SELECT posted_micros FROM wallets WHERE account_id = $1',
      [accountId],
    );
    const right = rows[0]?.posted_micros as string;
    const wrong = String(BigInt(right) + 1n);
    await books.owner.query('UPDATE wallets SET posted_micros = $2 WHERE account_id = $1', [
      accountId,
      wrong,
    ]);
    const text = await runCli(['doctor'], { env: { DATABASE_URL: url } });
    expect(text.status).toBe(1);
    expect(text.stdout).toMatch(/^NOT CLEAN: 1 /);
    expect(text.stdout).toContain(`wallets account_id=${accountId}`);
    const json = await runCli(['doctor', '--json', '--database-url', url]);
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      clean: false,
      counts: { wallets: 1, holds: 4 },
      discrepancies_total: 1,
      discrepancies: [
        {
          table: 'wallets',
          key: `account_id=${accountId}`,
          column: 'posted_micros',
          expected: right,
          found: wrong,
        },
      ],
    });
    await books.owner.query('UPDATE wallets SET posted_micros = $2 WHERE account_id = $1', [
      accountId,
      right,
    ]);
  });

  it('exits 2 when there is nothing that it could examine, and makes nothing', async () => {
    const dir = path.join(tmpdir(), 'coffer-doctor-nowhere');
    const nowhere = await runCli(['doctor'], { env: { COFFER_DATA_DIR: dir } });
    expect(nowhere).toMatchObject({ status: 2, stderr: expect.stringContaining('no database in') });
    expect(existsSync(dir)).toBe(false);
    const refused = await runCli(['doctor', '--database-url', 'postgres://x:secret-word@127.0.0.1:9/x']);
    expect(refused).toMatchObject({ status: 2, stderr: expect.stringContaining('ECONNREFUSED') });
    expect(refused.stderr).not.toContain('secret-word');
    const misspelt = await runCli(['doctor', '--database-url', 'coffer-db:secret-word']);
    expect(misspelt).toMatchObject({ status: 2, stderr: expect.stringContaining('postgres://') });
    expect(misspelt.stderr).not.toContain('secret-word');
    expect(await runCli(['doctor', '--fix'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--fix'),
    });
  });

  it('does not take an empty database for clean books', async () => {
    const other = await createTestDatabase();
    const admin = new pg.Client({ connectionString: other.url });
    await admin.connect();
    await admin.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    await admin.end();
    const result = await runCli(['doctor', '--database-url', other.url]);
    await other.drop();
    expect(result).toMatchObject({ status: 2, stderr: expect.stringContaining('no books of Coffer') });
    const gone = await runCli(['doctor', '--database-url', databaseAt(url, 'no_such_database')]);
    expect(gone).toMatchObject({ status: 2, stderr: expect.stringContaining('does not exist') });
  });

  it('finds our own database through the data directory, whether the service runs or not', async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), 'coffer doctor '));
    await chmod(dataDir, 0o711);
    try {
      const server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
      await migrate(server.ownerUrl, server.url);
      const running = await runCli(['doctor'], { env: { COFFER_DATA_DIR: dataDir } });
      expect(running).toMatchObject({ status: 0, stdout: expect.stringContaining('CLEAN') });
      await server.stop();
      const stopped = await runCli(['doctor'], { env: { COFFER_DATA_DIR: dataDir } });
      expect(stopped).toMatchObject({ status: 0, stdout: expect.stringContaining('CLEAN') });
      // It stopped what it had started: the service can start now.
      await (await startEmbeddedPostgres({ dataDir, log: () => undefined })).stop();
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  }, 60_000);
});
