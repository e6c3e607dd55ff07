import type { Logger } from 'pino';

type Stop = () => Promise<boolean>;

export type SupervisedProcess = {
  /** Registers what to do when the process is asked to stop. */
  onStop(stop: Stop): void;
  /** Ends the process with an error, stopping what can still be stopped. */
  readonly fail: (error: Error) => void;
};

/** A terminal signals the whole group and npm forwards the signal too, so a second one within this time is the same signal. */
const SAME_SIGNAL_WITHIN_MS = 500;
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** After an unexpected error nothing in memory can be trusted; this is the time to write logs and to stop the embedded database. */
const CRASH_STOP_TIMEOUT_MS = 5_000;

/**
 * Stops in order on the first SIGTERM or SIGINT and at once on the second. An uncaught error is logged and ends the
 * process: a supervisor starts a clean one, and everything that was acknowledged is in the database.
 */
export function superviseProcess(log: Logger): SupervisedProcess {
  let stop: Stop | null = null;
  let signalledAtMs: number | null = null;

  // The logger writes its buffered lines when the process exits.
  const end = (code: number): never => process.exit(code);
  const stopAndEnd = (): void => {
    // During a start, the start finishes first and is then undone, so that no database server keeps running.
    if (stop !== null) void stop().then((clean) => end(clean ? 0 : 1));
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (signalledAtMs !== null) {
      if (performance.now() - signalledAtMs < SAME_SIGNAL_WITHIN_MS) return;
      log.warn({ event: 'process.stop_forced', signal }, `${signal} again: the process ends at once`);
      end(1);
    }
    signalledAtMs = performance.now();
    log.info(
      { event: 'process.stopping', signal },
      `${signal}: accepted work is finished, then the process ends`,
    );
    stopAndEnd();
  };
  const fail = (error: unknown): void => {
    log.fatal({ event: 'process.crashed', err: error }, 'An unexpected error occurred; the process ends');
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
