import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { EmbeddedPostgresStartError } from './errors.js';

/** What the server writes about itself to postmaster.pid. */
export type PostmasterFile = { readonly pid: number; readonly port: number; readonly status: string };

/** A fast shutdown writes a checkpoint: at most shared_buffers of changed pages, which takes seconds on any disk. */
export const FAST_SHUTDOWN_SECONDS_MAX = 30;
/** An immediate shutdown writes nothing; the next start recovers from the log. */
export const IMMEDIATE_SHUTDOWN_SECONDS_MAX = 5;
const POLL_MILLIS = 10;

/** Reads postmaster.pid; undefined when there is none, or it is not completely written yet. */
export async function readPostmasterFile(pgData: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(path.join(pgData, 'postmaster.pid'), 'utf8').catch(() => '');
  const lines = text.split('\n');
  const pid = Number.parseInt(lines[0] ?? '', 10);
  if (Number.isNaN(pid)) return undefined;
  return { pid, port: Number.parseInt(lines[3] ?? '', 10), status: (lines[7] ?? '').trim() };
}

/**
 * Returns whether this pid is a server on this directory. The pid alone proves nothing: after a crash, and almost
 * always after a container restart, it belongs to another process.
 */
export async function isServerOn(pid: number, pgData: string): Promise<boolean> {
  if (process.platform === 'linux') {
    // A server's working directory is its data directory. Comparing the directory itself, not its name, also works when
    // the project has been moved since the start; a zombie has no working directory.
    const [own, its] = await Promise.all([stat(pgData), stat(`/proc/${pid}/cwd`).catch(() => undefined)]);
    return its?.dev === own.dev && its.ino === own.ino;
  }
  const args = await promisify(execFile)('ps', ['-ww', '-o', 'args=', '-p', String(pid)]).then(
    ({ stdout }) => stdout,
    () => '',
  );
  return args.includes(pgData);
}

/**
 * Stops the server that a dead service has left running, so that the new one starts with its own settings, as a
 * child of this process (which reports its death) and with its own log. Adopting the old one would save 0.1 s and have
 * none of that. Callers hold the data directory's lock, so no living service uses this server.
 *
 * @returns the pid of an unrelated process that a stale postmaster.pid names, if there is one.
 */
export async function stopOrphan(
  pgData: string,
  log: (level: 'warn', message: string) => void,
): Promise<{ readonly impostorPid: number | undefined }> {
  const file = await readPostmasterFile(pgData);
  if (file === undefined) return { impostorPid: undefined };
  if (!(await isServerOn(file.pid, pgData))) return { impostorPid: file.pid };
  log('warn', `Stopping the PostgreSQL (process ${file.pid}) that an earlier, killed service left running.`);
  const gone = async (): Promise<boolean> => !(await isServerOn(file.pid, pgData));
  if (await shutDown(file.pid, gone)) return { impostorPid: undefined };
  throw new EmbeddedPostgresStartError(
    `PostgreSQL process ${file.pid} was left running on ${pgData} and does not stop; end it and start again`,
    '',
  );
}

/** Tries a fast shutdown, then an immediate one, then kill -9: all are safe for the data; each is harder on the clients. */
export async function shutDown(pid: number, gone: () => Promise<boolean>): Promise<boolean> {
  const steps = [
    ['SIGINT', FAST_SHUTDOWN_SECONDS_MAX],
    ['SIGQUIT', IMMEDIATE_SHUTDOWN_SECONDS_MAX],
    ['SIGKILL', IMMEDIATE_SHUTDOWN_SECONDS_MAX],
  ] as const;
  for (const [signal, seconds] of steps) {
    if (await gone()) return true; // Before every signal: the pid of a process that is gone may be another's.
    signalProcess(pid, signal);
    const deadline = performance.now() + seconds * 1000;
    while (performance.now() < deadline) {
      if (await gone()) return true;
      await sleep(POLL_MILLIS);
    }
  }
  return false;
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
