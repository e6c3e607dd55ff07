/** What the runner tells about itself; metrics implement it, the runner knows no metrics. */
export interface JobObserver {
  completed(name: string, durationMs: number): void;
  /** `final` means that no attempt is left: a person has to look. */
  failed(name: string, durationMs: number, final: boolean): void;
  /** The runner lost its footing (usually the database) and starts anew. */
  restarted(): void;
}

export const JOB_OBSERVER = Symbol('JOB_OBSERVER');

const ignore = (): void => undefined;

export const silentJobObserver: JobObserver = { completed: ignore, failed: ignore, restarted: ignore };
