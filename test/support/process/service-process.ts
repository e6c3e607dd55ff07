import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DataSource } from 'typeorm';
import { makeApiKey } from '../../../src/identity/auth/credentials.js';
import { applicationDataSourceOptions } from '../../../src/platform/database/data-source.js';
import { clusterPaths } from '../../../src/bootstrap/embedded-postgres/cluster.js';
import { findEmbeddedPostgres } from '../../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { readPostmasterFile } from '../../../src/bootstrap/embedded-postgres/postmaster.js';
import { choosePort } from '../../../src/bootstrap/embedded-postgres/port.js';
import { END_WITH_PARENT, programArguments } from './program-arguments.js';
import { rememberSecretsIn, rememberSecretsOf, runLogFile } from '../app/run-log.js';
import { childrenOf, eventually, isAlive } from '../processes.js';
import { DIRECTORY_PREFIX } from '../database/test-database.js';
import { TestClient } from '../app/test-client.js';

/** Of every service that the tests start as a process. */
export const OPERATOR_KEY = makeApiKey('operator_key');

/** Outside production: see `src/bootstrap/first-run`. */
const SECRET_FILES = ['secrets.json', 'demo.json'];
/** Enough to see why a process ended. */
const OUTPUT_CHARS_MAX = 20_000;

export type ServiceOptions = {
  readonly dataDir: string;
  readonly port: number;
  /** In addition to the least that a service needs. Nothing is inherited from the tests' own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** A module of this folder that the process loads before the service. */
  readonly preload?: string;
  /** As `programArguments` takes it. */
  readonly compiled?: URL;
};

export type ProcessEnd = {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The end of what it printed, to stdout and stderr. */
  readonly output: string;
};

/** A data directory for `ServiceProcess`; a later run removes what a killed one leaves (`postgres-server.ts`). */
export async function createDataDir(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), `${DIRECTORY_PREFIX}${process.pid}-service-`));
  await chmod(dir, 0o711); // For root, whose database server runs as another user.
  return dir;
}

/** A killed service's database server may still be writing its last checkpoint: hence the retries. */
export function removeDataDir(dir: string): Promise<void> {
  return rm(dir, { recursive: true, force: true, maxRetries: 20 });
}

/** A free port outside the range that connections to other hosts take theirs from: it is free again after a restart. */
export function chooseServicePort(): Promise<number> {
  return choosePort(Math.floor(Math.random() * 1_000_000));
}

/** The address, with the service's login, of the database that a running service keeps in `dataDir`. */
export async function databaseUrlIn(dataDir: string): Promise<string> {
  const found = await findEmbeddedPostgres(dataDir);
  if (found === undefined) throw new Error(`no database server runs on ${dataDir}`);
  return found.url;
}

/** The process of that database's server, its postmaster. */
export async function databaseServerIn(dataDir: string): Promise<number> {
  const file = await readPostmasterFile(clusterPaths(dataDir).pgData);
  if (file === undefined) throw new Error(`no database server runs on ${dataDir}`);
  return file.pid;
}

/**
 * kill -9 for the whole server. Its sessions end by themselves when they notice that the postmaster is gone; until then, which takes
 * longer on a busy machine, they still commit. Resolves when none is left.
 */
export async function killDatabaseServer(dataDir: string): Promise<void> {
  const postmaster = await databaseServerIn(dataDir);
  const sessions = childrenOf(postmaster);
  process.kill(postmaster, 'SIGKILL');
  await eventually('the sessions of the database server have ended', () => !sessions.some(isAlive));
}

/** As the service itself connects, for as long as `work` runs. */
export async function withDatabase<T>(url: string, work: (dataSource: DataSource) => Promise<T>): Promise<T> {
  const dataSource = await new DataSource(applicationDataSourceOptions(url, 4)).initialize();
  try {
    return await work(dataSource);
  } finally {
    await dataSource.destroy();
  }
}

/** Runs one of our programs, `cli doctor` for example, to its end. */
export async function runProgram(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ProcessEnd> {
  const child = spawnProgram(args, env);
  return endOf(child, new Printed(child));
}

/** The real service, `src/main.ts` compiled, as a process of its own: what the tests kill. */
export class ServiceProcess {
  /** Settles when the process is gone; never rejects. */
  readonly ended: Promise<ProcessEnd>;
  private readonly printed: Printed;

  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
    private readonly dataDir: string,
  ) {
    this.printed = new Printed(child);
    this.ended = endOf(child, this.printed);
  }

  /** Does not wait for anything: for starts that are expected to fail. */
  static spawn({ dataDir, port, env = {}, preload, compiled }: ServiceOptions): ServiceProcess {
    const settings = {
      NODE_ENV: 'development',
      COFFER_DATA_DIR: dataDir,
      COFFER_OPERATOR_KEY: OPERATOR_KEY,
      PORT: String(port),
      RATE_LIMIT: 'off',
      // As in `engine.ts`.
      ENGINE_OVERLAP_FROM: '1',
      LOG_LEVEL: 'warn',
      ...traceFile(`service-${process.pid}-${port}.log`),
      ...env,
    };
    const child = spawnProgram(['main'], settings, preload === undefined ? [] : [preload], compiled);
    return new ServiceProcess(child, `http://127.0.0.1:${port}`, dataDir);
  }

  /** Resolves when the service is ready; rejects with what it printed when it ends before. */
  static async start(options: ServiceOptions): Promise<ServiceProcess> {
    const service = ServiceProcess.spawn(options);
    await service.untilReady();
    return service;
  }

  /** Resolves when the service says that it is ready; rejects with what it printed when it ends before. */
  async untilReady(): Promise<void> {
    await this.untilPrinted('Coffer is ready');
    await rememberSecretsAt(this.dataDir);
  }

  /** Resolves when this text was printed so many times; rejects when the process ends before. */
  async untilPrinted(text: string, times = 1): Promise<void> {
    const printed = new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.timesPrinted(text) < times) return;
        this.child.stdout?.off('data', look);
        resolve();
      };
      this.child.stdout?.on('data', look);
      look();
    });
    const failed = this.ended.then(({ code, signal, output }): never => {
      throw new Error(`the service ended before it printed '${text}' (${code ?? signal}): ${output}`);
    });
    failed.catch(() => undefined);
    await Promise.race([printed, failed]);
  }

  /** Sends a line to the module that was loaded before the service. Resolves when the process has printed the answer once more. */
  async sendLine(line: string, answer: string): Promise<void> {
    const times = this.timesPrinted(answer);
    this.child.stdin?.write(`${line}\n`);
    await this.untilPrinted(answer, times + 1);
  }

  timesPrinted(text: string): number {
    return this.output.split(text).length - 1;
  }

  /** The end of what it has printed so far; its log is among it. */
  get output(): string {
    return this.printed.text;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Sends this key; the operator's, which has every operator scope, when none is given. */
  client(apiKey: string | null = OPERATOR_KEY): TestClient {
    return new TestClient(this.url, apiKey);
  }

  /** kill -9, and wait for its end. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** SIGTERM, and wait for its end. */
  stop(): Promise<ProcessEnd> {
    this.child.kill('SIGTERM');
    return this.ended;
  }
}

function spawnProgram(
  [program = '', ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
  preloads: readonly string[] = [],
  compiled?: URL,
) {
  rememberSecretsOf(env);
  const node = programArguments(program, [END_WITH_PARENT, ...preloads], compiled);
  return spawn(process.execPath, [...node, ...args], {
    // Where no `.env` of a developer lies.
    cwd: path.parse(process.cwd()).root,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

/** All that it logs, whatever the level: searched for secrets when the run is over. */
function traceFile(name: string): Record<string, string> {
  const file = runLogFile(name);
  return file === null ? {} : { LOG_TRACE_FILE: file };
}

/** What the service made for itself on its first start. */
async function rememberSecretsAt(dataDir: string): Promise<void> {
  for (const name of SECRET_FILES) {
    const text = await readFile(path.join(dataDir, name), 'utf8').catch(() => null);
    if (text !== null) rememberSecretsIn(JSON.parse(text));
  }
}

class Printed {
  text = '';

  constructor({ stdout, stderr, pid }: ChildProcess) {
    const file = runLogFile(`printed-${process.pid}-${pid}.log`);
    const keep = (chunk: Buffer): void => {
      if (file !== null) appendFileSync(file, chunk);
      this.text = (this.text + chunk.toString()).slice(-OUTPUT_CHARS_MAX);
    };
    stdout?.on('data', keep);
    stderr?.on('data', keep);
  }
}

async function endOf(child: ChildProcess, printed: Printed): Promise<ProcessEnd> {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, output: printed.text };
}
