import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { loadSqlMigrations } from '../../src/platform/database/sql-migrations.js';
import { eventually, isRunning, momentLater } from '../support/processes.js';
import { COMPILED_SOURCES, programArguments } from '../support/process/program-arguments.js';
import { runCli } from '../support/process/run-cli.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  removeDataDir,
} from '../support/process/service-process.js';

const PROJECT = path.join(import.meta.dirname, '../..');
/** What the npm scripts below read. */
const PARTS = [
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'nest-cli.json',
  'scripts',
  'src',
  'packages',
];
const DATA = ['migrations', 'catalog', 'test/support'];
/** The compiler alone takes half a minute on a busy machine. */
const PATIENCE_SECONDS = 200;
const SIMULATORS = 'coffer-sandbox';
const RAPID_CHANGES = 5;
const HEADER = 'x-coffer-sandbox';

jest.setTimeout(600_000);

type Npm = ChildProcessByStdio<null, Readable, Readable>;

/** On a copy of the project: its sources are changed, and its `dist` is written. */
describe('the daily loop', () => {
  let project: string;
  let dataDir: string;
  let port: number;
  let npm: Npm | undefined;
  let printed: string;

  beforeEach(async () => {
    project = await createDataDir();
    dataDir = path.join(project, 'data');
    port = await chooseServicePort();
    for (const part of [...PARTS, ...DATA])
      await cp(path.join(PROJECT, part), path.join(project, part), { recursive: true });
    await linkPackages();
  });

  afterEach(async () => {
    if (npm?.pid !== undefined && (await isRunning(npm.pid))) process.kill(-npm.pid, 'SIGKILL');
    npm = undefined;
    await removeDataDir(project);
  });

  /** All packages that are installed, and the copy's own simulators: the link in `node_modules` leads to those of the project itself. */
  async function linkPackages(): Promise<void> {
    const from = path.join(PROJECT, 'node_modules');
    const to = path.join(project, 'node_modules');
    await mkdir(to);
    for (const name of await readdir(from)) await symlink(path.join(from, name), path.join(to, name));
    await rm(path.join(to, SIMULATORS));
    await symlink('../packages/sandbox', path.join(to, SIMULATORS));
  }

  /** In a process group of its own, as a terminal does it. */
  function startNpm(...args: readonly string[]): Npm {
    const child = spawn('npm', args, {
      cwd: project,
      env: {
        PATH: process.env['PATH'],
        HOME: project,
        npm_config_update_notifier: 'false',
        NODE_ENV: 'development',
        COFFER_DATA_DIR: dataDir,
        PORT: String(port),
      },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    printed = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => (printed += String(chunk)));
    npm = child;
    return child;
  }

  async function runNpm(...args: readonly string[]): Promise<{ code: number | null; printed: string }> {
    const [code] = (await once(startNpm(...args), 'close')) as [number | null];
    return { code, printed };
  }

  /** Whatever works in the project or on its data. */
  async function processesHere(): Promise<string[]> {
    const found: string[] = [];
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      const isHere = cwd.startsWith(project) || command.includes(project);
      if (isHere && (await isRunning(Number(pid)))) found.push(command.replaceAll('\0', ' '));
    }
    return found;
  }

  async function changeSource(file: string, change: (text: string) => string): Promise<void> {
    const source = path.join(project, 'src', file);
    await writeFile(source, change(await readFile(source, 'utf8')));
  }

  async function hasHeader(name: string): Promise<boolean> {
    const answer = await fetch(`http://127.0.0.1:${port}/health/live`).catch(() => null);
    return answer?.headers.has(name) ?? false;
  }

  /** Answers what the prompt printed for these lines. */
  async function askPrompt(...lines: readonly string[]): Promise<string> {
    const env = { PATH: process.env['PATH'], NODE_ENV: 'development', COFFER_DATA_DIR: dataDir };
    const prompt = spawn(process.execPath, programArguments('repl'), { cwd: project, env });
    let answer = '';
    prompt.stdout.on('data', (chunk) => (answer += String(chunk)));
    for (const line of lines) prompt.stdin.write(`${line}\n`);
    await eventually('it has answered', () => answer.includes('DONE'), PATIENCE_SECONDS);
    prompt.stdin.end('.exit\n');
    await once(prompt, 'close');
    return answer;
  }

  const demoAccount = async (): Promise<unknown> =>
    (JSON.parse(await readFile(path.join(dataDir, 'demo.json'), 'utf8')) as { account_id: string })
      .account_id;

  it('shows what was saved, keeps the data, and leaves no process after rapid changes and Ctrl-C', async () => {
    const dev = startNpm('run', 'start:dev');
    await eventually('the service answers', () => hasHeader(HEADER), PATIENCE_SECONDS);
    await eventually('the account is made', () =>
      demoAccount().then(
        () => true,
        () => false,
      ),
    );
    const account = await demoAccount();
    for (let change = 1; change <= RAPID_CHANGES; change += 1) {
      await changeSource('bootstrap/app.setup.ts', (text) =>
        text.replace(/SANDBOX_HEADER = '.*'/, `SANDBOX_HEADER = 'x-changed-${change}'`),
      );
      // Fast enough that stops, starts and compilations overlap. Waiting for a compilation to begin would not do: what is
      // saved before it has read the file is part of it, and begins no other.
      await momentLater(400);
    }
    await eventually(
      'the last change is live',
      () => hasHeader(`x-changed-${RAPID_CHANGES}`),
      PATIENCE_SECONDS,
    );
    await eventually('it is ready', async () => (await databaseServerIn(dataDir)) > 0);

    // What does not compile is never started.
    await changeSource('bootstrap/app.setup.ts', (text) => `${text}\nconst broken: number = 'text';\n`);
    await eventually('the error is shown', () => /Found [1-9]\d* error/.test(printed), PATIENCE_SECONDS);
    // The restart for a change before may not be over yet.
    await eventually(
      'the version before answers',
      () => hasHeader(`x-changed-${RAPID_CHANGES}`),
      PATIENCE_SECONDS,
    );

    expect(await demoAccount()).toBe(account);
    process.kill(-(dev.pid ?? 0), 'SIGINT');
    await once(dev, 'close');
    await eventually('no process is left', async () => (await processesHere()).length === 0);
    const serverLog = await readFile(path.join(dataDir, 'postgres/server.log'), 'utf8');
    expect(serverLog).toContain('database system was shut down at');
    expect(serverLog).not.toMatch(/was interrupted|not properly shut down/);
  });

  it('writes the next migration, and refuses what is no name', async () => {
    const before = loadSqlMigrations(path.join(project, 'migrations'));
    const made = await runNpm('run', '-s', 'migration:new', '--', 'refund-reasons');
    expect(made.code).toBe(0);
    const migrations = loadSqlMigrations(path.join(project, 'migrations')).map((Type) => new Type().name);
    expect(migrations).toHaveLength(before.length + 1);
    expect(migrations.at(-1)).toMatch(/^RefundReasons\d{13}$/);
    const [, file = ''] = /^(migrations\/\S+\.sql)/.exec(made.printed) ?? [];
    expect(await readFile(path.join(project, file), 'utf8')).toContain("SET LOCAL lock_timeout = '5s';");
    for (const name of [[], ['Refunds'], ['../refunds'], ['two', 'words'], ['refund-reasons']])
      expect((await runNpm('run', '-s', 'migration:new', '--', ...name)).code).toBe(1);
    expect(loadSqlMigrations(path.join(project, 'migrations'))).toHaveLength(migrations.length);
  });

  describe('the seed', () => {
    beforeEach(async () => {
      await cp(fileURLToPath(COMPILED_SOURCES), path.join(project, 'dist'), { recursive: true });
      await writeFile(path.join(project, 'dist/.built'), '');
    });

    /** Lots are what was bought, holds the calls that were made, of all customers. */
    async function examine(): Promise<{ clean: boolean; lots: number; holds: number }> {
      const { stdout } = await runCli(['doctor', '--json'], { env: { COFFER_DATA_DIR: dataDir } });
      const { clean, counts } = JSON.parse(stdout) as { clean: boolean; counts: Record<string, number> };
      // Transfers and accounts may be more later: a job books what Stripe keeps of a payment, on the platform's account.
      return { clean, lots: counts['lots'] ?? 0, holds: counts['holds'] ?? 0 };
    }

    async function seededCustomers(): Promise<Record<string, { account_id: string }>> {
      const file = await readFile(path.join(dataDir, 'seed.json'), 'utf8');
      return (JSON.parse(file) as { customers: Record<string, { account_id: string }> }).customers;
    }

    it('makes three customers, once: cut off, it goes on, and complete, it adds nothing', async () => {
      const cutOff = startNpm('run', '-s', 'seed');
      await eventually(
        'the history has begun',
        () => printed.includes('Pocket Sketchbook: complete'),
        PATIENCE_SECONDS,
      );
      process.kill(-(cutOff.pid ?? 0), 'SIGKILL');
      await once(cutOff, 'close');
      await eventually('its service is gone', async () => (await processesHere()).length === 0);

      const completed = await runNpm('run', '-s', 'seed');
      expect(completed).toMatchObject({
        code: 0,
        printed: expect.stringContaining('Keys of these customers'),
      });
      // 20 + 15 + 5 + 5 bought, 3 refunded, the disputed 5 back, 925 images at 0.04, 20 by auto top-up.
      expect(completed.printed).toContain('Willow Studio: complete, 25.00 available');
      expect((await stat(path.join(dataDir, 'seed.json'))).mode & 0o777).toBe(0o600);
      const books = await examine();
      expect(books).toMatchObject({ clean: true });
      const customers = await seededCustomers();

      const again = await runNpm('run', '-s', 'seed');
      expect(again).toMatchObject({ code: 0 });
      expect(again.printed.match(/is there already/g)).toHaveLength(3);
      expect(await examine()).toEqual(books);

      expect(await seededCustomers()).toEqual(customers);
      const account = customers['wallet']?.account_id ?? '';
      const answer = await askPrompt(
        `(await get(WalletReaderService).read('${account}')).available`,
        `'DO' + 'NE'`,
      );
      expect(answer).toContain("'25000000'");
      await eventually('no process is left', async () => (await processesHere()).length === 0);
    });
  });
});
