import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DataDirAccessError, EmbeddedPostgresUnavailableError } from './errors.js';

export type Owner = { readonly uid: number; readonly gid: number };

/** How the server's programs are started: as which user, and through which helper program. */
export type Launcher = {
  /** The user who owns the cluster's files and runs its processes; undefined means the user who runs this process. */
  readonly owner: Owner | undefined;
  /** The helper program that starts the program, with its options; empty when none is needed. */
  readonly prefix: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

/** The server never inherits the service's environment, because that holds the service's secrets. */
export const PROGRAM_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

/** The unprivileged users to fall back on; they exist on every Linux and macOS. No system user is ever created. */
const FALLBACK_USERS = ['postgres', 'nobody'] as const;

/**
 * PostgreSQL refuses to run as root. When this process is root, it therefore runs PostgreSQL as the owner of the
 * cluster's files if there are any, and on a first start as the owner of the project (so `sudo npm start`, and a
 * container with a mounted folder, leave files that their owner can use). If that is root too, it uses `postgres` or `nobody`.
 *
 * @param clusterRoot the cluster's directory, which need not exist.
 * @param project the directories that contain it, innermost first; the first that exists decides.
 * @returns undefined unless this process is root.
 */
export async function chooseOwner(
  clusterRoot: string,
  project: readonly string[],
): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const ownerOfFiles = await findOwner([clusterRoot]);
  if (ownerOfFiles !== undefined) return ownerOfFiles;
  const ownerOfProject = await findOwner(project);
  // `initdb` needs a user with a name; a container has none for the owner of a mounted folder.
  if (ownerOfProject !== undefined && (await readId(String(ownerOfProject.uid), '-u')) !== undefined) {
    return ownerOfProject;
  }
  for (const name of FALLBACK_USERS) {
    const [uid, gid] = await Promise.all([readId(name, '-u'), readId(name, '-g')]);
    if (uid !== undefined && gid !== undefined) return { uid, gid };
  }
  throw new EmbeddedPostgresUnavailableError(
    `PostgreSQL refuses to run as root, and there is no user ${FALLBACK_USERS.join(' or ')} to run it as`,
  );
}

/** Returns the owner of the first path that exists; undefined when that is root. */
async function findOwner(paths: readonly string[]): Promise<Owner | undefined> {
  for (const candidate of paths) {
    const found = await stat(candidate).catch(() => undefined);
    if (found !== undefined) return found.uid === 0 ? undefined : { uid: found.uid, gid: found.gid };
  }
  return undefined;
}

/**
 * An unprivileged user cannot enter root's 0700 home, neither for the programs nor for the data. In that case the
 * server gets exactly one capability from `setpriv`, which bypasses file permissions (CAP_DAC_OVERRIDE): it is
 * among Docker's default capabilities, and CAP_DAC_READ_SEARCH, which would otherwise be enough, is not. It is less
 * than root gave this process, and SQL cannot reach it: the one role that may log in is no superuser.
 *
 * Rejected: copying programs and data to a reachable place, because the ledger would then be outside
 * COFFER_DATA_DIR (a backup would miss it, and deleting the directory would not remove it); a user namespace, which Docker forbids.
 */
export async function chooseLauncher(
  dataDir: string,
  owner: Owner | undefined,
  postgres: string,
  extraEnv: Readonly<Record<string, string>>,
): Promise<Launcher> {
  const env = { ...PROGRAM_ENV, ...extraEnv };
  const plain: Launcher = { owner, prefix: [], env };
  if (owner === undefined || (await canReach(plain, dataDir, postgres))) return plain;
  const ids = ['--reuid', String(owner.uid), '--regid', String(owner.gid), '--clear-groups'];
  // PostgreSQL's programs ask access() before they use each other; for any user but root the kernel answers
  // it without regard to capabilities unless this bit is set.
  const capability = [
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
    '--securebits=+no_setuid_fixup',
  ];
  const withSetpriv: Launcher = { owner, prefix: ['setpriv', ...ids, ...capability, '--'], env };
  if (await canReach(withSetpriv, dataDir, postgres)) return withSetpriv;
  throw new DataDirAccessError(
    dataDir,
    `PostgreSQL refuses to run as root, and user id ${owner.uid}, whom it would run as, cannot reach it or ` +
      `${postgres} (setpriv of util-linux with CAP_DAC_OVERRIDE would help). Run the service as an ordinary ` +
      'user, or move it out of directories that only root may enter',
  );
}

/** Starts a program with the launcher's user and helper. The returned process is the program itself, not a wrapper. */
export function launch(
  launcher: Launcher,
  file: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const [helper, ...helperArgs] = launcher.prefix;
  const env = { ...launcher.env, ...options.env };
  if (helper !== undefined) return spawn(helper, [...helperArgs, file, ...args], { ...options, env });
  return spawn(file, args, { ...options, ...launcher.owner, env });
}

async function canReach(launcher: Launcher, dataDir: string, postgres: string): Promise<boolean> {
  const script = 'cd "$1" && exec "$2" --version';
  const probe = launch(launcher, '/bin/sh', ['-c', script, 'sh', dataDir, postgres], {
    stdio: 'ignore',
    cwd: path.parse(dataDir).root,
  });
  return once(probe, 'close').then(
    ([status]) => status === 0,
    () => false,
  );
}

/** Uses `id`, which also knows users that /etc/passwd does not list (LDAP, macOS). */
async function readId(name: string, option: '-u' | '-g'): Promise<number | undefined> {
  const id = spawn('id', [option, name], { stdio: ['ignore', 'pipe', 'ignore'], env: PROGRAM_ENV });
  let output = '';
  id.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const status = await once(id, 'close').then(
    ([code]) => code as number | null,
    () => null,
  );
  return status === 0 ? Number.parseInt(output, 10) : undefined;
}
