import { execFileSync, spawn } from 'node:child_process';
import { chmod, lstat, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import {
  type EmbeddedPostgres,
  findEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import {
  DataDirInUseError,
  EmbeddedPostgresStartError,
} from '../../src/bootstrap/embedded-postgres/errors.js';
import { migrate } from '../../src/platform/database/migrate.js';
import { readPostmasterFile } from '../../src/bootstrap/embedded-postgres/postmaster.js';
import { eventually, findProcess, isRunning } from '../support/processes.js';
import { type Simulator, SimulatorWorkshop } from '../support/process/service-simulator.js';

const IS_ROOT = process.getuid?.() === 0;
let workshop: SimulatorWorkshop;
/** One cluster that most tests start again and again, as a service's life does. */
let dataDir: string;
let pgData: string;
let firstUrl: string;

beforeAll(async () => {
  workshop = await SimulatorWorkshop.create();
  dataDir = workshop.path('a path with spaces', '.coffer');
  pgData = path.join(dataDir, 'postgres', 'data');
});
afterEach(() => workshop.endAll());
afterAll(() => workshop.dispose());

async function query<Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined); // Tests kill the server under it.
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function readyUrl(simulator: Simulator): Promise<string> {
  const { event, url, message } = await simulator.heard('ready', 'refused');
  if (event !== 'ready' || url === undefined) throw new Error(`not ready: ${message}`);
  return url;
}

async function startOn(dir: string): Promise<{ simulator: Simulator; url: string }> {
  const simulator = workshop.start({ dataDir: dir });
  return { simulator, url: await readyUrl(simulator) };
}

/** A committed row, distinguished from those of the other tests. */
async function commitMark(url: string, mark: string): Promise<void> {
  await query(url, 'CREATE TABLE IF NOT EXISTS marks (mark text PRIMARY KEY)');
  await query(url, `INSERT INTO marks VALUES ('${mark}')`);
}

async function marks(url: string): Promise<string[]> {
  return (await query<{ mark: string }>(url, 'SELECT mark FROM marks')).map(({ mark }) => mark);
}

async function serverPid(): Promise<number> {
  const file = await readPostmasterFile(pgData);
  if (file === undefined) throw new Error('no server runs');
  return file.pid;
}

/** kill -9 for the service and its lifeline: the server lives on without anybody. */
async function orphanServer(simulator: Simulator): Promise<number> {
  const pid = await serverPid();
  process.kill(await findProcess(`coffer-postgres-lifeline ${pid}`), 'SIGKILL');
  await simulator.kill();
  return pid;
}

describe('a first start', () => {
  it('works in a path with spaces, without install scripts, and leaves node_modules as it was', async () => {
    const before = await readdir(workshop.platformPackage, { recursive: true });
    expect(before).not.toContain('native/lib/libpq.so.5');
    const { simulator, url } = await startOn(dataDir);
    expect((await simulator.heard('ready')).created).toBe(true);
    await commitMark(url, 'first');
    firstUrl = url;
    await simulator.stop();
    expect(await readdir(workshop.platformPackage, { recursive: true })).toEqual(before);
  });

  it('discards what an earlier start left half-made when it was killed', async () => {
    const dir = workshop.path('killed early');
    const killed = workshop.start({ dataDir: dir });
    const isHalfMade = async (): Promise<boolean> => {
      const names = await readdir(dir, { recursive: true }).catch(() => []);
      return names.some((name) => /^postgres\.new-.*\/data\/base$/.test(name));
    };
    await eventually('initdb is at work', isHalfMade);
    await killed.kill();
    expect(await isHalfMade()).toBe(true);
    const { simulator, url } = await startOn(dir);
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect((await readdir(dir)).filter((name) => name.startsWith('postgres.new-'))).toEqual([]);
    await simulator.stop();
  });

  it('runs for an ordinary user whose packages belong to somebody else', async () => {
    const home = workshop.path('ordinary home');
    await mkdir(home, { mode: 0o700 });
    const ids = IS_ROOT ? { uid: idOf('-u'), gid: idOf('-g') } : {};
    if (IS_ROOT) execFileSync('chown', [`${ids.uid}:${ids.gid}`, home]);
    const simulator = workshop.start({ dataDir: path.join(home, '.coffer') }, ids);
    const url = await readyUrl(simulator);
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect((await stat(path.join(home, '.coffer', 'postgres'))).uid).toBe(ids.uid ?? process.getuid?.());
    await simulator.stop();

    function idOf(option: string): number {
      return Number(execFileSync('id', [option, 'nobody']).toString());
    }
  });

  it('runs when data and packages lie in directories that only their user may enter (0700), root included', async () => {
    const home = workshop.path('private home');
    await mkdir(home, { mode: 0o700 });
    await chmod(workshop.path('installed'), 0o700);
    try {
      const { simulator, url } = await startOn(path.join(home, 'project', '.coffer'));
      expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
      // A library and a file of the packages, read by a server process at run time.
      expect(await query(url, "DO 'BEGIN NULL; END'")).toEqual([]);
      expect(await query(url, "SELECT now() AT TIME ZONE 'Asia/Tokyo' IS NOT NULL AS known")).toEqual([
        { known: true },
      ]);
      await simulator.stop();
    } finally {
      await chmod(workshop.path('installed'), 0o755);
    }
  });

  it('says to set DATABASE_URL when the packages are not installed', async () => {
    const simulator = workshop.start({ dataDir: workshop.path('bare') }, { installed: false });
    const { name, message } = await simulator.heard('refused', 'ready');
    expect(name).toBe('EmbeddedPostgresUnavailableError');
    expect(message).toContain('DATABASE_URL');
  });
});

describe('the running server', () => {
  let server: EmbeddedPostgres;
  const messages: string[] = [];
  let url: string;

  beforeAll(async () => {
    server = await startEmbeddedPostgres({ dataDir, log: (_level, message) => messages.push(message) });
    url = server.ownerUrl;
  });
  afterAll(() => server.stop());

  it('keeps its address, and what was committed before the last stop', async () => {
    expect(server.created).toBe(false);
    expect(url).toBe(firstUrl);
    expect(await marks(url)).toContain('first');
  });

  it('commits durably, checks its pages, and orders text by bytes', async () => {
    const names = ['fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums', 'server_encoding'];
    const rows = await query(
      url,
      `SELECT ${names.map((name) => `current_setting('${name}') AS ${name}`).join()}`,
    );
    expect(rows).toEqual([
      {
        fsync: 'on',
        synchronous_commit: 'on',
        full_page_writes: 'on',
        data_checksums: 'on',
        server_encoding: 'UTF8',
      },
    ]);
    const order = await query(
      url,
      "SELECT string_agg(t, '' ORDER BY t) AS t FROM unnest('{é,b,A,a,B}'::text[]) t",
    );
    expect(order).toEqual([{ t: 'ABabé' }]);
  });

  it('listens on 127.0.0.1 only', async () => {
    expect(
      await query(url, "SELECT current_setting('listen_addresses') AS a, inet_server_addr() AS b"),
    ).toEqual([{ a: '127.0.0.1', b: '127.0.0.1' }]);
    expect(await query(url, "SELECT current_setting('unix_socket_directories') AS s")).toEqual([{ s: '' }]);
  });

  it('lets no one in without the password, and the superuser not at all', async () => {
    const wrong = new URL(url);
    wrong.password = 'guess';
    await expect(query(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    const superuser = new URL(url);
    superuser.username = 'postgres';
    await expect(query(superuser.href, 'SELECT 1')).rejects.toMatchObject({ code: '28000' });
    const rights = 'SELECT rolsuper FROM pg_roles WHERE rolname = current_user';
    expect(await query(url, rights)).toEqual([{ rolsuper: false }]);
    expect((await stat(path.join(dataDir, 'postgres', 'password'))).mode & 0o777).toBe(0o600);
  });

  it('lets no one in as the service before the service’s login is made, and then with its own password only', async () => {
    await expect(query(server.url, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    await migrate(url, server.url);
    expect(await query(server.url, 'SELECT session_user AS login')).toEqual([{ login: 'coffer_service' }]);
    const asOwner = new URL(url);
    asOwner.password = new URL(server.url).password;
    await expect(query(asOwner.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  });

  it('does not inherit the secrets in the environment of its service', async () => {
    if (process.platform !== 'linux') return;
    const environment = await readFile(`/proc/${await serverPid()}/environ`, 'utf8');
    const names = environment.split('\0').map((entry) => entry.split('=')[0]);
    const expected = [
      'PATH',
      'LC_ALL',
      'LD_LIBRARY_PATH',
      'PG_GRANDPARENT_PID',
      'PGDATA',
      'PGSYSCONFDIR',
      'PGLOCALEDIR',
      '',
    ];
    expect(names.filter((name) => !expected.includes(name ?? ''))).toEqual([]);
  });

  it('can be found by a second process that wants to work on the same database', async () => {
    expect(await findEmbeddedPostgres(dataDir)).toEqual({ url: server.url, ownerUrl: url });
  });

  it('refuses a second service on the data directory, and is not disturbed by it', async () => {
    const pid = await serverPid();
    const { name, message } = await workshop.start({ dataDir }).heard('refused', 'ready');
    expect(name).toBe('DataDirInUseError');
    expect(message).toContain(`process ${process.pid}`);
    expect(message).toContain('DATABASE_URL');
    const inSameProcess = startEmbeddedPostgres({ dataDir, log: () => undefined });
    await expect(inSameProcess).rejects.toBeInstanceOf(DataDirInUseError);
    expect(await serverPid()).toBe(pid);
    expect(await marks(url)).toContain('first');
  });

  it('comes back by itself on the same address with every committed row when it is killed with -9', async () => {
    for (const round of [1, 2]) {
      await commitMark(url, `before kill ${round}`);
      const pid = await serverPid();
      process.kill(pid, 'SIGKILL');
      await eventually('a new server answers', () =>
        marks(url).then(
          (found) => found.includes(`before kill ${round}`),
          () => false,
        ),
      );
      expect(await serverPid()).not.toBe(pid);
    }
    expect(messages.filter((message) => message.includes('runs again'))).toHaveLength(2);
  });
});

describe('after the service was killed with -9', () => {
  it('the server shuts down by itself, and the next start has every committed row', async () => {
    const { simulator, url } = await startOn(dataDir);
    await commitMark(url, 'service killed');
    const pid = await serverPid();
    await simulator.kill();
    await eventually('the server is gone', async () => !(await isRunning(pid)));
    const next = await startOn(dataDir);
    expect(await marks(next.url)).toContain('service killed');
    await next.simulator.stop();
  });

  it('a server left running without an owner is replaced, and keeps every committed row', async () => {
    const { simulator, url } = await startOn(dataDir);
    await commitMark(url, 'orphaned');
    const orphan = await orphanServer(simulator);
    expect(await isRunning(orphan)).toBe(true);
    const next = await startOn(dataDir);
    expect(await isRunning(orphan)).toBe(false);
    expect(await marks(next.url)).toContain('orphaned');
    await next.simulator.stop();
  });

  it('a postmaster.pid that names a living, unrelated process does not keep the server from starting', async () => {
    const { simulator, url } = await startOn(dataDir);
    await commitMark(url, 'stale pid');
    const pid = await orphanServer(simulator);
    process.kill(pid, 'SIGKILL');
    await eventually('the server is gone', async () => !(await isRunning(pid)));
    // As the server's own user: PostgreSQL itself sees through any other user's process.
    const { uid, gid } = await stat(pgData);
    const unrelated = spawn('sleep', ['60'], { ...(IS_ROOT ? { uid, gid } : {}), cwd: '/', stdio: 'ignore' });
    const file = path.join(pgData, 'postmaster.pid');
    const lines = (await readFile(file, 'utf8')).split('\n');
    await writeFile(file, [unrelated.pid, ...lines.slice(1)].join('\n'));
    const next = await startOn(dataDir);
    expect(await isRunning(Number(unrelated.pid))).toBe(true);
    expect(await marks(next.url)).toContain('stale pid');
    unrelated.kill();
    await next.simulator.stop();
  });

  it('of two services started at once on what it left, exactly one gets it', async () => {
    const { simulator } = await startOn(dataDir);
    await orphanServer(simulator);
    const rivals = [workshop.start({ dataDir }), workshop.start({ dataDir })];
    const outcomes = await Promise.all(rivals.map((rival) => rival.heard('ready', 'refused')));
    expect(outcomes.map(({ event }) => event).sort()).toEqual(['ready', 'refused']);
    expect(outcomes.find(({ event }) => event === 'refused')?.name).toBe('DataDirInUseError');
    await Promise.all(rivals.map((rival) => rival.stop()));
  });
});

describe('the end of a service', () => {
  it('Ctrl-C, which signals the whole process group, leaves it the server until it has drained', async () => {
    const { simulator, url } = await startOn(dataDir);
    const pid = await serverPid();
    process.kill(-Number(simulator.process.pid), 'SIGINT');
    await simulator.heard('interrupted');
    // The server handles signals before it takes a new connection: had it got this one, it would take none.
    await commitMark(url, 'after Ctrl-C');
    expect(await serverPid()).toBe(pid);
    await simulator.stop();
    expect(simulator.events.at(-1)?.event).toBe('stopped');
    expect(await isRunning(pid)).toBe(false);
    await expect(lstat(path.join(pgData, 'postmaster.pid'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('stop() closes connections that are still open, and may be called twice', async () => {
    const server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    const client = new pg.Client({ connectionString: server.ownerUrl });
    client.on('error', () => undefined);
    await client.connect();
    const ended = new Promise((resolve) => client.once('end', () => resolve('closed')));
    await Promise.all([server.stop(), server.stop()]);
    expect(await ended).toBe('closed');
    const again = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    await again.stop();
  });
});

describe('a server that cannot start', () => {
  it('is an error that carries the reason from its log, and the data directory is free again', async () => {
    const wrong = { dataDir, log: () => undefined, settings: { shared_buffers: 'plenty' } };
    const failure = await startEmbeddedPostgres(wrong).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(EmbeddedPostgresStartError);
    expect((failure as Error).message).toContain('invalid value for parameter "shared_buffers"');
    const server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    await server.stop();
  });

  it('is reported once, after a bounded number of attempts, when it died under the service', async () => {
    const simulator = workshop.start({ dataDir, restartDelaysMillis: [0, 10, 20] });
    await readyUrl(simulator);
    const pid = await serverPid();
    const control = path.join(pgData, 'global', 'pg_control');
    const content = await readFile(control);
    await writeFile(control, 'garbage');
    process.kill(pid, 'SIGKILL');
    const { message } = await simulator.heard('failed');
    expect(message).toContain('could not be started again');
    await simulator.stop();
    expect(simulator.events.filter(({ event }) => event === 'failed')).toHaveLength(1);
    await writeFile(control, content);
    await chmod(control, 0o600);
    const server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    expect(await marks(server.ownerUrl)).toContain('stale pid');
    await server.stop();
  });
});
