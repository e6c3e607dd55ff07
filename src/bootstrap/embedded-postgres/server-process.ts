import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fchownSync, openSync, renameSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterPaths } from './cluster.js';
import { EmbeddedPostgresStartError } from './errors.js';
import { launch, type Launcher, PROGRAM_ENV } from './launcher.js';
import { readPostmasterFile, shutDown } from './postmaster.js';
import type { PostgresSettings } from './settings.js';

/** One run of the server, from the moment it is ready until it has ended. */
export type ServerProcess = {
  readonly pid: number;
  /** Resolves when the process has ended, with the reason: 'exit code 1', 'SIGKILL'. It never rejects. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
};

export type ServerStart = {
  readonly postgres: string;
  readonly launcher: Launcher;
  readonly paths: ClusterPaths;
  readonly port: number;
  readonly settings: PostgresSettings;
  /** A stale postmaster.pid names this unrelated process: see `stopOrphan`. */
  readonly impostorPid?: number | undefined;
};

/** Recovery after a crash replays at most max_wal_size: some ten seconds on a fast disk, more on a slow one. */
const START_SECONDS_MAX = 180;
const POLL_MILLIS = 5;
const LOG_BYTES_MAX = 10_000_000;
const OUTPUT_BYTES_MAX = 2_000;

/**
 * Starts the server and waits until it accepts connections.
 *
 * @throws EmbeddedPostgresStartError with the end of the server's log when it ends, or is not ready in time.
 */
export async function startServerProcess(start: ServerStart): Promise<ServerProcess> {
  const { paths } = start;
  const logFd = openLog(start);
  const logStart = statSync(paths.log).size;
  const child = spawnServer(start, logFd);
  closeSync(logFd);
  const ended = waitForEnd(child);
  const { pid } = child;
  if (pid === undefined) throw new EmbeddedPostgresStartError('PostgreSQL did not start', await ended);
  const lifeline = attachLifeline(pid);
  let gone = false;
  void ended.then(() => {
    gone = true;
    lifeline.kill('SIGKILL');
  });
  const stop = async (): Promise<void> => {
    child.ref(); // The caller waits for this process now, so it must keep the event loop alive.
    await shutDown(pid, () => Promise.resolve(gone));
    await ended;
  };
  const deadline = performance.now() + START_SECONDS_MAX * 1000;
  while (!(await isReady(paths, pid))) {
    if (gone) {
      const how = `PostgreSQL did not start (${await ended})`;
      throw new EmbeddedPostgresStartError(how, await readFrom(paths.log, logStart));
    }
    if (performance.now() > deadline) {
      await stop();
      const how = `PostgreSQL was not ready within ${START_SECONDS_MAX} s`;
      throw new EmbeddedPostgresStartError(how, await readFrom(paths.log, logStart));
    }
    await sleep(POLL_MILLIS);
  }
  return { pid, ended, stop };
}

function spawnServer(start: ServerStart, logFd: number): ChildProcess {
  const settings = Object.entries(start.settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const args = ['-D', start.paths.pgData, '-p', String(start.port), ...settings];
  const child = launch(start.launcher, start.postgres, args, {
    // It gets a session of its own, because Ctrl-C signals the terminal's whole process group, and the service still
    // needs its database to finish what it accepted.
    detached: true,
    // It logs to a file: nothing is lost when the service is killed, and no pipe can fill up or break.
    stdio: ['ignore', logFd, logFd],
    cwd: '/',
    // PostgreSQL takes a postmaster.pid whose process is alive for a running server and refuses to start. With this
    // variable, which pg_ctl uses as well, it takes that pid for its grandparent and the file for stale. It then goes on
    // to its second check, for the dead server's shared memory, which deleting the file would disable.
    env: start.impostorPid === undefined ? {} : { PG_GRANDPARENT_PID: String(start.impostorPid) },
  });
  child.unref(); // A service that forgets to stop the server may still end; the lifeline stops it then.
  return child;
}

/**
 * When the service ends for any reason (kill -9, a crash, a forgotten `stop()`), the kernel closes its end of this
 * pipe; the shell's `read` returns, and the server shuts down cleanly instead of running on without an owner.
 * `stopOrphan` covers the case that the shell was killed as well.
 */
function attachLifeline(pid: number): ChildProcess {
  const script = 'read -r _; kill -INT "$1"';
  const shell = spawn('/bin/sh', ['-c', script, 'coffer-postgres-lifeline', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    env: PROGRAM_ENV,
  });
  shell.on('error', () => undefined); // No shell: a server may outlive us, and the next start stops it.
  shell.stdin.on('error', () => undefined);
  (shell.stdin as Socket).unref();
  shell.unref();
  return shell;
}

async function isReady(paths: ClusterPaths, pid: number): Promise<boolean> {
  const file = await readPostmasterFile(paths.pgData);
  return file?.pid === pid && file.status === 'ready';
}

function waitForEnd(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}

function openLog({ paths, launcher }: ServerStart): number {
  const size = statSync(paths.log, { throwIfNoEntry: false })?.size ?? 0;
  if (size > LOG_BYTES_MAX) renameSync(paths.log, `${paths.log}.old`);
  const fd = openSync(paths.log, 'a', 0o600);
  if (launcher.owner !== undefined) fchownSync(fd, launcher.owner.uid, launcher.owner.gid);
  return fd;
}

/** Returns what was written to a file after `position`, at most the last OUTPUT_BYTES_MAX bytes of it. */
async function readFrom(file: string, position: number): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    const from = Math.max(position, size - OUTPUT_BYTES_MAX);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.max(0, size - from)), 0, null, from);
    return buffer.toString('utf8', 0, bytesRead).trim();
  } finally {
    await handle.close();
  }
}
