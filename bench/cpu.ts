import { readdirSync, readFileSync } from 'node:fs';

/** What /proc/PID/stat says about a process, in milliseconds of CPU. */
export type ProcessTimes = {
  readonly pid: number;
  readonly parent: number;
  /** User and system time of all its threads. */
  readonly ownMs: number;
  /** The same of its children that have ended and were waited for, and of theirs. */
  readonly reapedMs: number;
};

/** The unit of these files, whatever the kernel's own tick (`getconf CLK_TCK`). */
const TICK_MS = 10;

/** A child that ends while the tree is read would be counted twice or not at all; then it is read once more. */
const READS_MAX = 5;

/** Null for text that is not the stat file of a process, which is what a process that has just ended leaves. */
export function parseStat(text: string): ProcessTimes | null {
  // The name is in brackets and may itself contain brackets and spaces: fields are counted from the last bracket.
  const nameEnd = text.lastIndexOf(')');
  if (nameEnd === -1) return null;
  const fields = text.slice(nameEnd + 2).split(' ');
  const ticks = (position: number): number => Number(fields[position - 3] ?? Number.NaN);
  const times = {
    pid: Number.parseInt(text, 10),
    parent: ticks(4),
    ownMs: (ticks(14) + ticks(15)) * TICK_MS,
    reapedMs: (ticks(16) + ticks(17)) * TICK_MS,
  };
  return Object.values(times).every(Number.isFinite) ? times : null;
}

/** The process and everything that descends from it. */
export function treeOf(root: number, all: readonly ProcessTimes[]): ProcessTimes[] {
  const members = all.filter(({ pid }) => pid === root);
  for (let index = 0; index < members.length; index += 1) {
    members.push(...all.filter(({ parent }) => parent === members[index]?.pid));
  }
  return members;
}

export function sumMs(tree: readonly ProcessTimes[]): number {
  return tree.reduce((sum, { ownMs, reapedMs }) => sum + ownMs + reapedMs, 0);
}

/**
 * What a process has taken of the cores so far, with all its children, those included that have ended: a database server's
 * connections are processes, and what they did counts after they are closed. Throws when there is no such process.
 */
export function cpuMsOf(root: number): number {
  let tree = readTree(root);
  for (let reads = 1; reads < READS_MAX; reads += 1) {
    const again = readTree(root);
    const isSettled = childrenText(tree) === childrenText(again);
    tree = again;
    if (isSettled) break;
  }
  if (tree.length === 0) throw new Error(`process ${root} has ended, so its CPU time cannot be read`);
  return sumMs(tree);
}

const childrenText = (tree: readonly ProcessTimes[]): string =>
  JSON.stringify(tree.map(({ pid, reapedMs }) => [pid, reapedMs]));

/**
 * Whole ticks are too coarse for many processes that do little each: 256 connections that work 9 ms each have used no tick at
 * all. So the scheduler's own count of each thread is added up; where threads have ended, or the kernel does not keep that
 * count, the ticks say more.
 */
function exactly(times: ProcessTimes): ProcessTimes {
  const nanoseconds = list(`/proc/${times.pid}/task`).reduce(
    (sum, thread) => sum + Number.parseInt(read(`/proc/${times.pid}/task/${thread}/schedstat`) || '0', 10),
    0,
  );
  return { ...times, ownMs: Math.max(times.ownMs, nanoseconds / 1e6) };
}

function readTree(root: number): ProcessTimes[] {
  const all = list('/proc').flatMap((name) => {
    const times = /^\d+$/.test(name) ? parseStat(read(`/proc/${name}/stat`)) : null;
    return times === null ? [] : [times];
  });
  return treeOf(root, all).map(exactly);
}

/** Empty for a process that has ended since the directory was listed. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
