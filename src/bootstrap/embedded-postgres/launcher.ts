import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { DataDirAccessError, EmbeddedPostgresUnavailableError } from './errors.js';

export type Owner = { readonly uid: number; readonly gid: number };

/** How the server's programs are started: as whom, and with what help. */
export type Launcher = {
  /** Whom the cluster's files belong to and its processes run as; undefined: whoever runs this process. */
  readonly owner: Owner | undefined;
  /** The program that starts the program, with its options; empty when none is needed. */
  readonly prefix: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

/** The server never inherits the service's environment: that holds the service's secrets. */
export const PROGRAM_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

/** Unprivileged users to fall back on; they exist on every Linux and macOS. No system user is ever created. */
const FALLBACK_USERS = ['postgres', 'nobody'] as const;

/**
 * PostgreSQL refuses to run as root. Root therefore runs it as the owner of the cluster's files if there are
 * any already, and on a first start as the owner of the project (so `sudo npm start`, and a container with a
 * mounted folder, leave files that their owner can use). Where that is root too, as `postgres` or `nobody`.
 *
 * @param clusterRoot the cluster's directory, which need not exist.
 * @param project the directories it lies in, innermost first; the first that exists decides.
 * @returns undefined unless this process is root.
 */
export async function chooseOwner(
  clusterRoot: string,
  project: readonly string[],
): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const ownerOfFiles = await ownerOf([clusterRoot]);
  if (ownerOfFiles !== undefined) return ownerOfFiles;
  const ownerOfProject = await ownerOf(project);
  // `initdb` needs a user with a name; a container knows none for the owner of a mounted folder.
  if (ownerOfProject !== undefined && (await idOf(String(ownerOfProject.uid), '-u')) !== undefined) {
    return ownerOfProject;
  }
  for (const name of FALLBACK_USERS) {
    const [uid, gid] = await Promise.all([idOf(name, '-u'), idOf(name, '-g')]);
    if (uid !== undefined && gid !== undefined) return { uid, gid };
  }
  throw new EmbeddedPostgresUnavailableError(
    `PostgreSQL refuses to run as root, and there is no user ${FALLBACK_USERS.join(' or ')} to run it as`,
  );
}

/** Of the first that exists; undefined when that is root. */
async function ownerOf(paths: readonly string[]): Promise<Owner | undefined> {
  for (const candidate of paths) {
    const found = await stat(candidate).catch(() => undefined);
    if (found !== undefined) return found.uid === 0 ? undefined : { uid: found.uid, gid: found.gid };
  }
  return undefined;
}

/**
 * An unprivileged user cannot enter root's 0700 home, neither for the programs nor for the data. There the
 * server gets exactly one capability, to pass file permissions (CAP_DAC_OVERRIDE), from `setpriv`: it is
 * among Docker's default capabilities, and CAP_DAC_READ_SEARCH, which would do otherwise, is not. It is less
 * than what root gave this process, and unreachable through SQL: the one role that may log in is no superuser.
 *
 * Rejected: copying programs and data to a reachable place, which puts the ledger outside COFFER_DATA_DIR
 * (a backup misses it, a deleted directory leaves it behind); a user namespace, which Docker forbids.
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

/** Starts a program as the launcher says. The returned process is the program itself, not a wrapper. */
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

/** Asks `id`, which also knows users that /etc/passwd does not list (LDAP, macOS). */
async function idOf(name: string, option: '-u' | '-g'): Promise<number | undefined> {
  const id = spawn('id', [option, name], { stdio: ['ignore', 'pipe', 'ignore'], env: PROGRAM_ENV });
  let output = '';
  id.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const status = await once(id, 'close').then(
    ([code]) => code as number | null,
    () => null,
  );
  return status === 0 ? Number.parseInt(output, 10) : undefined;
}
