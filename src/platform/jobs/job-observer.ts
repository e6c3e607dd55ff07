/** What the runner reports about itself; metrics implement it, the runner knows no metrics. */
export interface JobObserver {
  completed(name: string, durationMs: number): void;
  /** `final` means that no attempt is left: an operator has to act. */
  failed(name: string, durationMs: number, final: boolean): void;
  /** The runner lost its connections (usually to the database) and starts again. */
  restarted(): void;
}

export const JOB_OBSERVER = Symbol('JOB_OBSERVER');

const ignore = (): void => undefined;

export const silentJobObserver: JobObserver = { completed: ignore, failed: ignore, restarted: ignore };
