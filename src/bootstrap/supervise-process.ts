import type { Logger } from 'pino';

type Stop = () => Promise<boolean>;

export type SupervisedProcess = {
  /** What to do when the process is told to stop. */
  onStop(stop: Stop): void;
  /** Ends the process with an error, stopping what can still be stopped. */
  readonly fail: (error: Error) => void;
};

/** A terminal signals the whole group and npm passes the signal on, too: this soon after the first it is the same one. */
const SAME_SIGNAL_WITHIN_MS = 500;
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** After an unforeseen error nothing in memory can be trusted; this long to flush and to stop our database. */
const CRASH_STOP_TIMEOUT_MS = 5_000;

/**
 * Stops in order on the first SIGTERM or SIGINT and at once on the second; logs what nobody caught and ends
 * the process: a supervisor starts a clean one, and everything acknowledged is in the database.
 */
export function superviseProcess(log: Logger): SupervisedProcess {
  let stop: Stop | null = null;
  let signalledAtMs: number | null = null;

  // The logger writes what it still buffers when the process exits.
  const end = (code: number): never => process.exit(code);
  const stopAndEnd = (): void => {
    // Still starting: the start finishes first and is then undone, so that no database server is left behind.
    if (stop !== null) void stop().then((clean) => end(clean ? 0 : 1));
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (signalledAtMs !== null) {
      if (performance.now() - signalledAtMs < SAME_SIGNAL_WITHIN_MS) return;
      log.warn(`${signal} again: leaving at once`);
      end(1);
    }
    signalledAtMs = performance.now();
    log.info(`${signal}: finishing what was accepted`);
    stopAndEnd();
  };
  const fail = (error: unknown): void => {
    log.fatal({ err: error }, 'unforeseen error; the process ends');
    setTimeout(end, CRASH_STOP_TIMEOUT_MS, 1).unref();
    void (stop === null ? Promise.resolve(false) : stop()).finally(() => end(1));
  };

  for (const signal of SIGNALS) process.on(signal, onSignal);
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  const onStop = (whatToDo: Stop): void => {
    stop = whatToDo;
    if (signalledAtMs !== null) stopAndEnd();
  };
  return { onStop, fail };
}
