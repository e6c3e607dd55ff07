import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedPostgresStartError } from './errors.js';
import { choosePort } from './port.js';
import { type ServerProcess, type ServerStart, startServerProcess } from './server-process.js';

export type Log = (level: 'info' | 'warn' | 'error', message: string) => void;

/** The waits before the restarts, in milliseconds; when all restarts failed, after some 30 s, the supervisor stops trying. */
export const RESTART_DELAYS_MILLIS: readonly number[] = [
  0, 50, 100, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000,
];
/** A server that ran this long was healthy: its next death starts the delays from the beginning. */
const HEALTHY_AFTER_SECONDS = 60;
/** Limits the first start, where other processes may take the chosen port, or a dead server's last workers may linger. */
const START_ATTEMPTS_MAX = 40;
const START_RETRY_MILLIS = 250;

export type SupervisorOptions = {
  readonly log: Log;
  /** The same data directory gives the same number, so that it keeps its port from run to run. */
  readonly portSeed: number;
  readonly restartDelaysMillis: readonly number[];
  /** Called once, when the server died and could not be brought back. */
  readonly onFailure: (error: Error) => void;
};

/**
 * Keeps one server running: when it dies while the service runs, it is started again on the same port, so that
 * connection pools find it again. What was committed is recovered from its log.
 */
export class PostgresSupervisor {
  #stopping = false;
  readonly #wake = new AbortController();
  readonly #done: Promise<void>;

  private constructor(
    private readonly start: ServerStart,
    private server: ServerProcess,
    private readonly options: SupervisorOptions,
  ) {
    this.#done = this.#supervise();
  }

  /**
   * Starts the server for the first time.
   *
   * @throws EmbeddedPostgresStartError when it does not start, for a reason that does not pass by itself.
   */
  static async start(
    start: Omit<ServerStart, 'port'>,
    options: SupervisorOptions,
  ): Promise<PostgresSupervisor> {
    for (let attempt = 0; ; attempt += 1) {
      const port = await choosePort(options.portSeed);
      try {
        const attempted = { ...start, port };
        const server = await startServerProcess(attempted);
        return new PostgresSupervisor({ ...attempted, impostorPid: undefined }, server, options);
      } catch (error) {
        if (attempt >= START_ATTEMPTS_MAX || !isPassing(error)) throw error;
        await sleep(START_RETRY_MILLIS);
      }
    }
  }

  get port(): number {
    return this.start.port;
  }

  /** Stops the server and waits until it is gone; open connections are closed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake.abort();
    await this.server.stop();
    await this.#done;
  }

  async #supervise(): Promise<void> {
    let failures = 0;
    while (!this.#stopping) {
      const startedAt = performance.now();
      const how = await this.server.ended;
      if (this.#stopping) return;
      if (performance.now() - startedAt > HEALTHY_AFTER_SECONDS * 1000) failures = 0;
      this.options.log(
        'error',
        `PostgreSQL (process ${this.server.pid}) ended unexpectedly (${how}); starting it again.`,
      );
      const restarted = await this.#restart(failures);
      if (restarted === undefined) return;
      failures = restarted;
    }
  }

  /** @returns the number of delays used up; undefined when stopped, or out of attempts. */
  async #restart(failures: number): Promise<number | undefined> {
    let lastError: unknown;
    const delays = this.options.restartDelaysMillis;
    for (let attempt = failures; attempt < delays.length; attempt += 1) {
      const delay = delays[attempt];
      await sleep(delay, undefined, { signal: this.#wake.signal }).catch(() => undefined);
      if (this.#stopping) return undefined;
      try {
        this.server = await startServerProcess(this.start);
        this.options.log('warn', `PostgreSQL runs again (process ${this.server.pid}, port ${this.port}).`);
        // stop() may have been called during the start, and have stopped the dead server.
        if (this.#stopping) await this.server.stop();
        return attempt + 1;
      } catch (error) {
        lastError = error;
        this.options.log('error', error instanceof Error ? error.message : String(error));
      }
    }
    this.options.onFailure(
      new EmbeddedPostgresStartError('PostgreSQL died and could not be started again', '', {
        cause: lastError,
      }),
    );
    return undefined;
  }
}

/** Returns whether a start failed for a reason that passes by itself. */
function isPassing(error: unknown): boolean {
  if (!(error instanceof EmbeddedPostgresStartError)) return false;
  return /Address already in use|pre-existing shared memory block/.test(error.output);
}
