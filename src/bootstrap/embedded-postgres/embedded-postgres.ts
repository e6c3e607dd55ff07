import { chown, mkdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { linkLibraries, locateBinaries } from './binaries.js';
import {
  type ClusterLogins,
  clusterLogins,
  type ClusterPaths,
  clusterPaths,
  ensureCluster,
  prepareLogins,
} from './cluster.js';
import { type DataDirLock, lockDataDir } from './data-dir-lock.js';
import { DataDirAccessError } from './errors.js';
import { chooseLauncher, chooseOwner, type Launcher, type Owner } from './launcher.js';
import { isServerOn, readPostmasterFile, stopOrphan } from './postmaster.js';
import { DEFAULT_SETTINGS, type PostgresSettings } from './settings.js';
import { type Log, PostgresSupervisor, RESTART_DELAYS_MILLIS } from './supervisor.js';

export type EmbeddedPostgresOptions = {
  /** Where everything is kept (COFFER_DATA_DIR); created when missing. */
  readonly dataDir: string;
  readonly log: Log;
  /** Overrides of DEFAULT_SETTINGS. Only tests may trade durability for speed here. */
  readonly settings?: PostgresSettings;
  /** Called once if the server died and could not be brought back; the service should then end. */
  readonly onFailure?: (error: Error) => void;
  /** The waits before each restart of a server that died, in milliseconds; after the last one, it is not restarted again. */
  readonly restartDelaysMillis?: readonly number[];
};

export type EmbeddedPostgres = ClusterLogins & {
  /** Whether this start made the database. */
  readonly created: boolean;
  /** Shuts the server down and releases the data directory. Call it last, after the service has drained. */
  stop(): Promise<void>;
};

/**
 * Runs a PostgreSQL server of the service's own on `dataDir`, on a loopback port, until `stop()`, and restarts it
 * if it dies. A first start takes about a second, a later one about a tenth. It survives the kill of any of its
 * processes: see `README.md` in this folder.
 *
 * @throws EmbeddedPostgresUnavailableError no binaries for this platform, or not enough to run them.
 * @throws DataDirInUseError another living service uses `dataDir`.
 * @throws DataDirAccessError `dataDir` cannot be created, written or reached, or is another user's.
 * @throws EmbeddedPostgresStartError the server refused to start; the message has the end of its log.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const binaries = await locateBinaries();
  const { dataDir, owner } = await prepareDataDir(options.dataDir);
  const lock = await lockDataDir(dataDir, owner);
  try {
    const libraryEnv = await linkLibraries(binaries, path.join(dataDir, 'postgres-libraries'));
    const launcher = await chooseLauncher(dataDir, owner, binaries.postgres, libraryEnv);
    const made = await ensureCluster(dataDir, binaries, launcher);
    const paths = clusterPaths(dataDir);
    await prepareLogins(paths, launcher);
    const supervisor = await startOnCluster(options, binaries.postgres, launcher, paths);
    const logins = await clusterLogins(paths, supervisor.port);
    return { ...logins, created: made === 'created', stop: stopOnce(supervisor, lock) };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * Returns the address of the server that a service is running on `dataDir`, for a second process that wants to work
 * on the same database (`coffer doctor`); undefined when none is running there.
 */
export async function findEmbeddedPostgres(dataDir: string): Promise<ClusterLogins | undefined> {
  const paths = clusterPaths(await realpath(dataDir).catch(() => dataDir));
  const file = await readPostmasterFile(paths.pgData);
  if (file?.status !== 'ready' || !(await isServerOn(file.pid, paths.pgData))) return undefined;
  return clusterLogins(paths, file.port);
}

async function startOnCluster(
  options: EmbeddedPostgresOptions,
  postgres: string,
  launcher: Launcher,
  paths: ClusterPaths,
): Promise<PostgresSupervisor> {
  const { log, onFailure = () => undefined, restartDelaysMillis = RESTART_DELAYS_MILLIS } = options;
  const { impostorPid } = await stopOrphan(paths.pgData, log);
  const settings = { ...DEFAULT_SETTINGS, ...options.settings };
  const { ino } = await stat(paths.root);
  const start = { postgres, launcher, paths, settings, impostorPid };
  return PostgresSupervisor.start(start, { log, portSeed: ino, restartDelaysMillis, onFailure });
}

/** Creates the directory, for the owner that the cluster in it will have. */
async function prepareDataDir(dir: string): Promise<{ dataDir: string; owner: Owner | undefined }> {
  const wanted = path.resolve(dir);
  const owner = await chooseOwner(clusterPaths(wanted).root, ancestors(wanted));
  try {
    // Other users may traverse the directory (the server does not run as root) but not list it.
    const firstCreated = await mkdir(wanted, { recursive: true, mode: 0o711 });
    const ofProject = owner !== undefined && (await stat(path.dirname(wanted))).uid === owner.uid;
    if (firstCreated !== undefined && ofProject) await chown(wanted, owner.uid, owner.gid);
    return { dataDir: await realpath(wanted), owner };
  } catch (error) {
    throw new DataDirAccessError(wanted, error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }
}

/** The directory itself, then its parents up to the root. */
function ancestors(dir: string): string[] {
  const parent = path.dirname(dir);
  return parent === dir ? [dir] : [dir, ...ancestors(parent)];
}

function stopOnce(supervisor: PostgresSupervisor, lock: DataDirLock): () => Promise<void> {
  let stopped: Promise<void> | undefined;
  return () => {
    stopped ??= supervisor.stop().finally(() => lock.release());
    return stopped;
  };
}
