import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** How long anything that must happen may take on a slow machine before a test fails. */
const PATIENCE_SECONDS = 40;

/** Whether a process runs. A zombie, dead and waiting for its parent to notice, does not. */
export async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  if (process.platform !== 'linux') return true;
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return !/\) Z/.test(status);
}

/** Waits until the condition holds; fails, saying what never happened, when it does not. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patienceSeconds = PATIENCE_SECONDS,
): Promise<void> {
  const deadline = performance.now() + patienceSeconds * 1000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await sleep(10);
  }
}

/** Lets everything run that is ready to. */
export const nextTurn = promisify(setImmediate);

/**
 * Some moment of what is going on in the meantime: for tests that kill or cuts in the middle of it. Where that falls cannot be known,
 * so nothing may be asserted that depends on how long it was.
 */
export function momentLater(ms: number): Promise<void> {
  return sleep(ms);
}

/** Whether it happens within this time; for what may as well never happen. */
export function happensWithin(ms: number, event: Promise<unknown>): Promise<boolean> {
  return Promise.race([event.then(() => true), sleep(ms, false, { ref: false })]);
}

/** The process whose command line contains this text. */
export async function findProcess(text: string): Promise<number> {
  if (process.platform === 'linux') {
    for (const name of await readdir('/proc')) {
      const args = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
      if (args.replaceAll('\0', ' ').includes(text)) return Number(name);
    }
  } else {
    const table = execFileSync('ps', ['-ax', '-ww', '-o', 'pid=,args=']).toString();
    const line = table.split('\n').find((row) => row.includes(text));
    if (line !== undefined) return Number.parseInt(line, 10);
  }
  throw new Error(`no process runs as ${text}`);
}

/** The processes that a process has started and not outlived. */
export function childrenOf(parent: number): number[] {
  const table = execFileSync('ps', ['-ax', '-o', 'pid=,ppid=']).toString();
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  return rows.filter(([, ppid]) => ppid === parent).map(([pid = 0]) => pid);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
