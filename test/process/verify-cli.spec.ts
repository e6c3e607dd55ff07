// cspell:ignore datbase
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parseApiKey } from '../../src/identity/auth/credentials.js';
import { changeCell, exportText } from '../support/wallet/export-files.js';
import { runCli } from '../support/process/run-cli.js';
import { TestBooks } from '../support/database/test-books.js';

describe('coffer verify', () => {
  let dir: string;
  let csv: string;
  let accountId: string;

  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'coffer verify '));
    const books = await TestBooks.open();
    accountId = await books.playEverything();
    csv = await exportText(books, 'csv');
    await writeFile(path.join(dir, 'good.jsonl'), await exportText(books, 'jsonl'));
    await books.close();
    await writeFile(path.join(dir, 'good.csv'), csv);
    await writeFile(path.join(dir, 'bad.csv'), changeCell(csv, 'csv', 3, 'amount_micros', '50000'));
    await writeFile(path.join(dir, 'short.csv'), csv.slice(0, csv.length / 2));
    await writeFile(path.join(dir, 'page.html'), '<!doctype html>');
  });
  afterAll(() => rm(dir, { recursive: true }));

  it('exits 0 and prints the totals and the trial balance of a good file', async () => {
    for (const name of ['good.csv', 'good.jsonl']) {
      const { status, stdout, stderr } = await runCli(['verify', path.join(dir, name)]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toContain(`VERIFIED: ${path.join(dir, name)}`);
      expect(stdout).toMatch(/transfers +\d\d in 1 accounts/);
      expect(stdout).toMatch(/customer_credit +liability +\$\d+\.\d+ +\$\d+\.\d+ +\$\d+\.\d+/);
      const [, debits, credits] = /total +(\S+) +(\S+) +\$0\.00/.exec(stdout) ?? [];
      expect(debits).toBeDefined();
      expect(debits).toBe(credits);
    }
  });

  it('reads standard input', async () => {
    const { status, stdout } = await runCli(['verify', '-'], { input: csv });
    expect(status).toBe(0);
    expect(stdout).toContain('VERIFIED: standard input');
  });

  it('exits 1 and names the first bad row', async () => {
    const { status, stdout } = await runCli(['verify', path.join(dir, 'bad.csv')]);
    expect(status).toBe(1);
    expect(stdout).toContain('line 5');
    expect(stdout).toContain(`account ${accountId}, seq 4, id txn_${accountId.slice(5)}_000000000004`);
    expect(stdout).toMatch(/expected +\d+\n +found +\d+/);
  });

  it('exits 1 for a download that was cut short', async () => {
    const { status, stdout } = await runCli(['verify', path.join(dir, 'short.csv')]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: expect.stringContaining('NOT VERIFIED') });
  });

  it.each([
    [['verify'], 'give one file'],
    [['verify', 'a', 'b'], 'give one file'],
    [['verify', '--loudly', 'a'], '--loudly'],
    [['verify', '/no/such/file'], 'no such file'],
    [['verify', '/'], 'directory'],
    [['verify', 'page.html'], 'not a ledger export'],
    [['frobnicate'], "no command 'frobnicate'"],
    [['constructor'], "no command 'constructor'"],
    [[], 'Usage: coffer'],
  ])('exits 2 and says why when it could not judge: %j', async (args, message) => {
    const { status, stdout, stderr } = await runCli(args, { cwd: dir });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  it('explains itself, and each of its commands', async () => {
    for (const args of [['help'], ['--help']]) {
      const { status, stdout } = await runCli(args);
      expect(status).toBe(0);
      for (const command of ['verify', 'doctor', 'catalog', 'migrate', 'operator-key'])
        expect(stdout).toMatch(new RegExp(`^  ${command}\\b.* {2,}[A-Z]`, 'm'));
      expect(stdout).toContain('Exit status: 0 all is well');
    }
    for (const args of [
      ['verify', '--help'],
      ['help', 'verify'],
    ]) {
      const { status, stdout } = await runCli(args);
      expect(status).toBe(0);
      expect(stdout).toContain('Usage: coffer verify [options] <file>');
      expect(stdout).toContain('Exit status: 0 all is well');
    }
  });

  it('repeats no value of an option that it does not know: it may be a password', async () => {
    const { status, stderr } = await runCli(['doctor', '--datbase-url=postgres://x:secret-word@127.0.0.1/x']);
    expect(status).toBe(2);
    expect(stderr).toContain("unknown option '--datbase-url'");
    expect(stderr).not.toContain('secret-word');
  });
});

describe('coffer operator-key', () => {
  it('prints a whole operator key alone, another one each time', async () => {
    const keys = [await runCli(['operator-key']), await runCli(['operator-key'])].map(({ stdout }) =>
      stdout.trimEnd(),
    );
    expect(keys.map(parseApiKey)).toEqual(['operator_key', 'operator_key']);
    expect(keys[0]).not.toBe(keys[1]);
  });
});
