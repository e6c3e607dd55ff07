import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** C programs, so that the load takes as little as possible of the two cores that are measured. */
const TOOLS = [
  ['pgbench', 'postgresql-contrib'],
  ['wrk', 'wrk'],
] as const;

export async function requireTools(): Promise<void> {
  for (const [tool, debianPackage] of TOOLS) {
    await run('sh', ['-c', `command -v ${tool}`]).catch(() => {
      throw new Error(`The benchmark needs ${tool}: apt-get install ${debianPackage}`);
    });
  }
}

export type PlainSqlLoad = {
  readonly clients: number;
  readonly first: number;
  readonly last: number;
  readonly seconds: number;
};

/** Transactions per second of the plain SQL debit, over prepared statements. */
export async function pgbench(url: string, load: PlainSqlLoad): Promise<number> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const define = [`-Dfirst=${load.first}`, `-Dlast=${load.last}`];
  const { stdout } = await run(
    'pgbench',
    [
      '-n',
      '-M',
      'prepared',
      '-c',
      `${load.clients}`,
      '-j',
      '2',
      '-T',
      `${load.seconds}`,
      ...define,
      '-f',
      here('plain-debit.sql'),
      '-h',
      hostname,
      '-p',
      port,
      '-U',
      decodeURIComponent(username),
      pathname.slice(1),
    ],
    { env: { ...process.env, PGPASSWORD: decodeURIComponent(password) } },
  );
  return numberAfter(stdout, /tps = ([\d.]+)/);
}

export type HttpLoad = {
  readonly script: string;
  readonly connections: number;
  readonly seconds: number;
  readonly first: number;
  readonly last: number;
  readonly prefix: string;
  readonly items?: number;
};

export type HttpResult = {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

/** Closed loop. Throws when a single answer was not 2xx: a refusal must never pass for speed. */
export async function wrk(baseUrl: string, operatorKey: string, load: HttpLoad): Promise<HttpResult> {
  const args = [
    '-t1',
    `-c${load.connections}`,
    `-d${load.seconds}s`,
    '--latency',
    '--timeout',
    '30s',
    '-s',
    here(load.script),
    baseUrl,
    '--',
  ];
  args.push(`${load.first}`, `${load.last}`, load.prefix, `${load.items ?? 1}`);
  const { stdout } = await run('wrk', args, { env: { ...process.env, OPERATOR_KEY: operatorKey } });
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`wrk met refusals:\n${stdout}`);
  return {
    requestsPerSecond: numberAfter(stdout, /Requests\/sec:\s+([\d.]+)/),
    p50Ms: milliseconds(stdout, /50%\s+([\d.]+)(us|ms|s)/),
    p99Ms: milliseconds(stdout, /99%\s+([\d.]+)(us|ms|s)/),
  };
}

function numberAfter(text: string, pattern: RegExp): number {
  const match = pattern.exec(text);
  if (match === null) throw new Error(`no ${pattern} in:\n${text}`);
  return Number(match[1]);
}

function milliseconds(text: string, pattern: RegExp): number {
  const match = pattern.exec(text);
  if (match === null) throw new Error(`no ${pattern} in:\n${text}`);
  return Number(match[1]) * ({ us: 0.001, ms: 1, s: 1_000 }[match[2] ?? 'ms'] ?? 1);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
