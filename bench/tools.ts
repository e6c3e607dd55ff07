import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { UsageError } from './options.js';
import { quantile } from './statistics.js';

export const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** C programs, so that the load takes as little as possible of the cores that are measured. */
const TOOLS = {
  pgbench: 'postgresql-contrib',
  wrk: 'wrk',
} as const;

export type Tool = keyof typeof TOOLS;

/** Throws `UsageError` with the command that installs what is missing. */
export function requireTools(tools: readonly Tool[]): void {
  const missing = tools.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0);
  if (missing.length === 0) return;
  const packages = missing.map((tool) => TOOLS[tool]).join(' ');
  throw new UsageError(
    `The benchmark needs ${missing.join(' and ')}. On Debian and Ubuntu: apt-get install ${packages}`,
  );
}

/** A load generator that has not ended this long after its time is up never will. */
const GRACE_SECONDS = 30;
/** A request that takes longer is counted by wrk as a timeout, and that fails the run. */
const REQUEST_SECONDS_MAX = 20;

/** What is measured of a load: `opened` and `closed` are called where counting begins and ends. */
export type Window = { opened(): void; closed(): void };

export type LoadResult = {
  /** Successful calls within the window. */
  readonly calls: number;
  readonly perSecond: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
};

export type HttpLoad = {
  readonly script: string;
  readonly connections: number;
  readonly seconds: number;
  /** What the script reads, by name. */
  readonly env: Readonly<Record<string, string>>;
};

/** Closed loop over connections that stay open. Throws when a single answer was not 2xx: a refusal must never pass for speed. */
export async function wrk(url: string, load: HttpLoad, window: Window): Promise<LoadResult> {
  const { connections, seconds, script, env } = load;
  const args = [
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '--latency',
    '--timeout',
    `${REQUEST_SECONDS_MAX}s`,
  ];
  window.opened();
  const stdout = await runTool('wrk', [...args, '-s', here(script), url], { seconds, env });
  window.closed();
  return readWrk(stdout);
}

/** @param text what `wrk --latency` prints. */
export function readWrk(text: string): LoadResult {
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(`wrk was refused:\n${text}`);
  return {
    calls: numberIn(text, /(\d+) requests in /),
    perSecond: numberIn(text, /Requests\/sec:\s+([\d.]+)/),
    p50Ms: millisecondsIn(text, /50%\s+([\d.]+)(us|ms|s|m)\b/),
    p99Ms: millisecondsIn(text, /99%\s+([\d.]+)(us|ms|s|m)\b/),
  };
}

export type SqlLoad = {
  readonly script: string;
  readonly connections: number;
  readonly seconds: number;
  readonly variables: Readonly<Record<string, number>>;
};

/** It connects and prepares its statements in this time, which a pool of connections does once a day. */
const CONNECT_SECONDS = 1;

/** A window with fewer calls says little: on a machine that is too busy for them it stays open a little longer. */
const CALLS_MIN = 100;
const LONGER_SECONDS_MAX = 15;

/** Transactions of a script over prepared statements. The window begins when all clients are connected and warm. */
export async function pgbench(url: string, load: SqlLoad, window: Window): Promise<LoadResult> {
  // It is ended as soon as the window closes, so that the connections' end falls outside of it.
  const seconds = CONNECT_SECONDS + load.seconds + GRACE_SECONDS;
  let calls = 0;
  let reports = 0;
  let reportedAtMs = 0;
  let windowMs = 0;
  await runTool('pgbench', pgbenchArgs(load, seconds), {
    seconds,
    env: connectionEnv(url),
    onErrorLine(line, child) {
      if (/abort|error|fatal/i.test(line)) throw new Error(`pgbench: ${line}`);
      const perSecond = readProgress(line);
      if (perSecond === null || child.killed) return;
      reports += 1;
      const nowMs = performance.now();
      if (reports === CONNECT_SECONDS) window.opened();
      else {
        calls += (perSecond * (nowMs - reportedAtMs)) / 1_000;
        windowMs += nowMs - reportedAtMs;
      }
      reportedAtMs = nowMs;
      const longerSeconds = reports - CONNECT_SECONDS - load.seconds;
      if (longerSeconds < 0 || (calls < CALLS_MIN && longerSeconds < LONGER_SECONDS_MAX)) return;
      window.closed();
      child.kill('SIGTERM');
    },
  });
  if (windowMs === 0) throw new Error('pgbench ended before it was measured');
  return { calls: Math.round(calls), perSecond: (calls * 1_000) / windowMs };
}

/** The same with one client, whose every transaction is timed. */
export async function pgbenchLatency(url: string, load: Omit<SqlLoad, 'connections'>, window: Window) {
  const seconds = CONNECT_SECONDS + load.seconds;
  const dir = await mkdtemp(join(tmpdir(), 'coffer-bench-pgbench-'));
  try {
    const args = [...pgbenchArgs({ ...load, connections: 1 }, seconds), '--log', `--log-prefix=${dir}/log`];
    let openedAtMicros = Number.POSITIVE_INFINITY;
    await runTool('pgbench', args, {
      seconds,
      env: connectionEnv(url),
      onErrorLine(line) {
        if (/abort|error|fatal/i.test(line)) throw new Error(`pgbench: ${line}`);
        if (readProgress(line) === null || Number.isFinite(openedAtMicros)) return;
        openedAtMicros = Date.now() * 1_000;
        window.opened();
      },
    });
    window.closed();
    const logs = await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name), 'utf8')));
    const micros = readTimings(logs.join(''), openedAtMicros);
    const ms = micros.map((each) => each / 1_000);
    return {
      calls: ms.length,
      perSecond: ms.length / load.seconds,
      p50Ms: quantile(ms, 0.5),
      p99Ms: quantile(ms, 0.99),
    };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Microseconds of each transaction that ended after `fromMicros`, from lines of pgbench's log. */
export function readTimings(log: string, fromMicros: number): number[] {
  return log.split('\n').flatMap((line) => {
    // client, transaction, time, script, seconds and microseconds of the end
    const [, , time = '', , endSeconds = '', endFraction = ''] = line.split(' ');
    const endedAt = Number(endSeconds) * 1e6 + Number(endFraction);
    return time !== '' && endedAt >= fromMicros ? [Number(time)] : [];
  });
}

/** Transactions per second in a line of `pgbench --progress`; null in any other line. */
export function readProgress(line: string): number | null {
  const match = /^progress: [\d.]+ s, ([\d.]+) tps/.exec(line);
  return match === null ? null : Number(match[1]);
}

function pgbenchArgs({ script, connections, variables }: SqlLoad, seconds: number): string[] {
  const threads = Math.min(connections, 2);
  return [
    ...['-n', '-M', 'prepared', '-c', `${connections}`, '-j', `${threads}`, '-T', `${seconds}`, '-P', '1'],
    ...Object.entries(variables).map(([name, value]) => `-D${name}=${value}`),
    ...['-f', here(script)],
  ];
}

/** The password is not named in the arguments, which every user of the machine can read. */
function connectionEnv(url: string): Record<string, string> {
  const { hostname, port, username, password, pathname } = new URL(url);
  return {
    PGHOST: hostname,
    PGPORT: port,
    PGUSER: username,
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: pathname.slice(1),
  };
}

type Run = {
  /** How long it means to run. */
  readonly seconds: number;
  readonly env: Readonly<Record<string, string>>;
  readonly onErrorLine?: (line: string, child: ChildProcess) => void;
};

const running = new Set<ChildProcess>();

/** Ends the load generators that run at this moment. */
export function killTools(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** Resolves with what it printed. Rejects when it fails, and when it does not end in time, after killing it. */
function runTool(tool: Tool, args: readonly string[], { seconds, env, onErrorLine }: Run): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    let stdout = '';
    let lastError = '';
    let failure: Error | null = null;
    const fail = (error: Error): void => {
      failure ??= error;
      child.kill('SIGKILL');
    };
    const limit = (seconds + GRACE_SECONDS) * 1_000;
    const timer = setTimeout(fail, limit, new Error(`${tool} did not end within ${limit / 1_000} s`));
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    createInterface(child.stderr).on('line', (line) => {
      lastError = line;
      try {
        onErrorLine?.(line, child);
      } catch (error) {
        fail(error as Error);
      }
    });
    child.once('error', fail);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      if (failure !== null) reject(failure);
      else if (code === 0 || signal === 'SIGTERM') resolve(stdout);
      else reject(new Error(`${tool} ended with ${code ?? signal}: ${lastError}\n${stdout}`));
    });
  });
}

function numberIn(text: string, pattern: RegExp): number {
  const match = pattern.exec(text);
  if (match === null) throw new Error(`no ${pattern} in:\n${text}`);
  return Number(match[1]);
}

function millisecondsIn(text: string, pattern: RegExp): number {
  const unit = pattern.exec(text)?.[2] ?? 'ms';
  return numberIn(text, pattern) * ({ us: 0.001, ms: 1, s: 1_000, m: 60_000 }[unit] ?? 1);
}
