import { createHmac, randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { userInfo } from 'node:os';
import path from 'node:path';
import type { PostgresBinaries } from './binaries.js';
import {
  DataDirAccessError,
  EmbeddedPostgresStartError,
  EmbeddedPostgresUnavailableError,
} from './errors.js';
import { launch, type Launcher } from './launcher.js';

/** Where a cluster keeps its files, below `<data directory>/postgres`. */
export type ClusterPaths = {
  readonly root: string;
  /** PostgreSQL's own directory (PGDATA). */
  readonly pgData: string;
  /** The password of the role that owns the database. */
  readonly password: string;
  readonly log: string;
};

export type ClusterLogins = {
  /** The login of the service. */
  readonly url: string;
  /** The login of the database's owner, for migrations only. */
  readonly ownerUrl: string;
};

/** The database, and the role that owns it and migrates it. */
export const DATABASE = 'coffer';
/** The role that the service logs in as. It owns nothing; the migrations create it. */
const SERVICE_LOGIN = 'coffer_service';

const HALF_MADE_PREFIX = 'postgres.new-';
/** A first start takes about 1 s on a fast disk; a slow laptop disk with a virus scanner may take ten. */
const INIT_SECONDS_MAX = 120;
const OUTPUT_CHARS_MAX = 2_000;

/**
 * The owner has what a managed PostgreSQL gives its customers: it owns its database and can create roles and
 * databases, but is not a superuser. This proves that migrations work without superuser rights.
 */
const roleSql = (password: string): readonly string[] => [
  `CREATE ROLE ${DATABASE} LOGIN CREATEDB CREATEROLE PASSWORD '${password}'`,
  `GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO ${DATABASE}`,
  `CREATE DATABASE ${DATABASE} OWNER ${DATABASE}`,
];
const HBA = `# The superuser cannot log in at all. Other roles are the owner's to make.
host all postgres all reject
host all all 127.0.0.1/32 scram-sha-256
`;

export function clusterPaths(dataDir: string): ClusterPaths {
  const root = path.join(dataDir, 'postgres');
  return {
    root,
    pgData: path.join(root, 'data'),
    password: path.join(root, 'password'),
    log: path.join(root, 'server.log'),
  };
}

/**
 * Creates the cluster if there is none. It is built in a directory with another name and renamed when it is
 * complete, so a process killed in the middle leaves litter (removed here) and never half a cluster. Callers hold the lock.
 *
 * @throws DataDirAccessError when the cluster belongs to another user.
 */
export async function ensureCluster(
  dataDir: string,
  binaries: PostgresBinaries,
  launcher: Launcher,
): Promise<'created' | 'existing'> {
  for (const name of await readdir(dataDir)) {
    if (!name.startsWith(HALF_MADE_PREFIX)) continue;
    // The retries are needed because the initdb of a killed service may still be writing to it for a moment.
    await rm(path.join(dataDir, name), { recursive: true, force: true, maxRetries: 10 });
  }
  const { root } = clusterPaths(dataDir);
  const present = await lstat(root).catch(() => undefined);
  const uid = launcher.owner?.uid ?? process.getuid?.();
  if (present !== undefined) {
    if (present.uid === uid) return 'existing';
    throw new DataDirAccessError(
      dataDir,
      `${root} belongs to user id ${present.uid}, and PostgreSQL would run as user id ${uid} (chown -R helps)`,
    );
  }
  const half = await mkdtemp(path.join(dataDir, HALF_MADE_PREFIX));
  try {
    await give(half, launcher);
    await createCluster(half, binaries, launcher);
    await syncDirectory(half);
    await rename(half, root);
    await syncDirectory(dataDir);
  } catch (error) {
    await rm(half, { recursive: true, force: true });
    throw error;
  }
  return 'created';
}

/**
 * Lets both roles log in, before the server starts: a cluster that an earlier version created allows only the owner.
 * Callers hold the lock.
 */
export async function prepareLogins(paths: ClusterPaths, launcher: Launcher): Promise<void> {
  const hba = path.join(paths.pgData, 'pg_hba.conf');
  if ((await readFile(hba, 'utf8')) === HBA) return;
  // The rename is atomic: a process killed in the middle leaves the old file or the new one.
  await writeOwned(`${hba}.new`, HBA, launcher);
  await rename(`${hba}.new`, hba);
  await syncDirectory(paths.pgData);
}

/** The addresses of the server's database; each contains a password. */
export async function clusterLogins(paths: ClusterPaths, port: number): Promise<ClusterLogins> {
  const password = (await readFile(paths.password, 'utf8')).trim();
  // It is derived, so that there is no second file to lose. The owner's password cannot be computed from it.
  const servicePassword = createHmac('sha256', password).update(SERVICE_LOGIN).digest('base64url');
  const urlFor = (login: string, secret: string): string =>
    `postgres://${login}:${secret}@127.0.0.1:${port}/${DATABASE}`;
  return { url: urlFor(SERVICE_LOGIN, servicePassword), ownerUrl: urlFor(DATABASE, password) };
}

async function createCluster(half: string, binaries: PostgresBinaries, launcher: Launcher): Promise<void> {
  requireAccountName(launcher);
  const pgData = path.join(half, 'data');
  // With locale C, text is ordered by its bytes, the same on every machine; the libraries' collations change with
  // their version and silently break indexes. Data checksums are on by default from version 18.
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=libc'];
  const rejectEveryLogin = ['--auth-local=reject', '--auth-host=reject'];
  await runProgram(launcher, binaries.initdb, [
    `--pgdata=${pgData}`,
    '--username=postgres',
    ...locale,
    ...rejectEveryLogin,
  ]);
  const password = randomBytes(24).toString('base64url');
  await writeOwned(path.join(half, 'password'), `${password}\n`, launcher);
  // The superuser cannot log in once the server runs, so this uses single-user mode. That exits with 0 even when a
  // statement was refused, so its output decides.
  const printed = await runProgram(
    launcher,
    binaries.postgres,
    ['--single', '-D', pgData, '-c', 'log_min_messages=error', 'postgres'],
    `${roleSql(password).join('\n')}\n`,
  );
  if (/\b(ERROR|FATAL|PANIC):/.test(printed)) {
    throw new EmbeddedPostgresStartError('Could not create the database', printed);
  }
}

/** `initdb` looks its user up by name, and its own message for a user without a name does not say what to do. */
function requireAccountName(launcher: Launcher): void {
  if (launcher.owner !== undefined) return;
  try {
    userInfo();
  } catch (error) {
    throw new EmbeddedPostgresUnavailableError(
      `user id ${process.getuid?.()} has no entry in /etc/passwd, and PostgreSQL requires one to create a database`,
      { cause: error },
    );
  }
}

async function runProgram(
  launcher: Launcher,
  file: string,
  args: readonly string[],
  input = '',
): Promise<string> {
  const child = launch(launcher, file, args, {
    stdio: ['pipe', 'ignore', 'pipe'],
    cwd: '/',
    timeout: INIT_SECONDS_MAX * 1000,
  });
  let printed = '';
  child.stderr?.on(
    'data',
    (chunk: Buffer) => (printed = (printed + chunk.toString()).slice(-OUTPUT_CHARS_MAX)),
  );
  child.stdin?.on('error', () => undefined); // It ended before reading its input; its exit status gives the reason.
  child.stdin?.end(input);
  const status = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  if (status !== 0) {
    throw new EmbeddedPostgresStartError(`${path.basename(file)} failed (${status})`, printed.trim());
  }
  return printed.trim();
}

async function writeOwned(file: string, content: string, launcher: Launcher): Promise<void> {
  await writeFile(file, content, { mode: 0o600, flush: true });
  await chmod(file, 0o600); // The mode above only counts for a new file.
  await give(file, launcher);
}

async function give(file: string, launcher: Launcher): Promise<void> {
  if (launcher.owner !== undefined) await chown(file, launcher.owner.uid, launcher.owner.gid);
}

/** Without this, a power failure may lose a file's name, or the rename, although the content is safe. */
async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
