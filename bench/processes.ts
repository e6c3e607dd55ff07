import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * How far what is measured stands back behind the load and the stand-ins. They play other machines: a generator that
 * waits for the core of the gateway it measures sends its calls late and then all at once.
 */
export const NICENESS = 10;

const JIFFY_MS = 10;

/** For the rest of its life; what it starts from now on follows it. */
export async function standBack(pid: number): Promise<void> {
  await run('renice', ['-n', `${NICENESS}`, '-p', ...[pid, ...(await childrenOf(pid))].map(String)]);
}

/** What a process and its children have taken of the cores so far; NaN where the system does not tell (it is Linux's /proc). */
export async function cpuMsOf(pid: number): Promise<number> {
  const all = await Promise.all([pid, ...(await childrenOf(pid))].map(ownCpuMs));
  return all.reduce((sum, ms) => sum + ms, 0);
}

async function ownCpuMs(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The name, in brackets, may hold spaces. User and system time are the 14th and 15th field.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? Number.NaN) + Number(fields[12] ?? Number.NaN)) * JIFFY_MS;
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}
