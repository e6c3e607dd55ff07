import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, fchownSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import {
  DataDirAccessError,
  DataDirInUseError,
  EmbeddedPostgresError,
  EmbeddedPostgresUnavailableError,
} from './errors.js';
import { PROGRAM_ENV, type Owner } from './launcher.js';

export type DataDirLock = { release(): void };

/** Opens and locks exclusively in one call; only macOS and BSD have it, and Node has no constant for it. */
const O_EXLOCK = 0x20;

/**
 * Makes this process the only service on the data directory. The kernel holds the lock (flock) and releases it
 * when the process ends, for any reason: there are no stale locks, and two processes that start at once cannot
 * both win. A file that holds a pid would need guesses for both. The lock also works between containers that
 * share a volume, where PostgreSQL's own check cannot see the other container's processes.
 *
 * While it is held, a PostgreSQL found running on this directory is an orphan, never somebody else's server.
 *
 * @throws DataDirInUseError when a living service holds it.
 */
export async function lockDataDir(dataDir: string, owner: Owner | undefined): Promise<DataDirLock> {
  const file = path.join(dataDir, 'postgres.lock');
  // A bare descriptor is used because a FileHandle would be closed, and the lock lost, when it is garbage-collected.
  const fd = openLockFile(dataDir, file);
  try {
    if (process.platform !== 'darwin') await flock(fd, dataDir, file);
    if (owner !== undefined) fchownSync(fd, owner.uid, owner.gid);
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`); // A second service shows it in its error message; it decides nothing.
  } catch (error) {
    closeSync(fd);
    if (error instanceof EmbeddedPostgresError) throw error;
    throw new DataDirAccessError(dataDir, (error as Error).message, { cause: error });
  }
  return { release: () => closeSync(fd) };
}

function openLockFile(dataDir: string, file: string): number {
  const { O_RDWR, O_CREAT, O_NONBLOCK } = constants;
  const lockOnOpen = process.platform === 'darwin' ? O_EXLOCK | O_NONBLOCK : 0;
  try {
    return openSync(file, O_RDWR | O_CREAT | lockOnOpen, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') throw new DataDirInUseError(dataDir, readHolder(file));
    throw new DataDirAccessError(dataDir, message, { cause: error });
  }
}

/**
 * Node has no flock(). The `flock` program (util-linux, busybox) locks the file description that it inherits from
 * this process as descriptor 3; the lock stays with this process's descriptor after the program has ended.
 */
async function flock(fd: number, dataDir: string, file: string): Promise<void> {
  const child = spawn('flock', ['-n', '-x', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    env: PROGRAM_ENV,
  });
  let status: number | null;
  try {
    [status] = (await once(child, 'close')) as [number | null];
  } catch (error) {
    throw new EmbeddedPostgresUnavailableError('the program flock (package util-linux) is missing', {
      cause: error,
    });
  }
  if (status === 1) throw new DataDirInUseError(dataDir, readHolder(file));
  if (status !== 0) throw new DataDirAccessError(dataDir, `its file system cannot lock ${file}`);
}

function readHolder(file: string): number | undefined {
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  return Number.isNaN(pid) ? undefined : pid;
}
