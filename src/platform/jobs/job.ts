/** It is JSON, because it waits in a database column. Money is a string, as everywhere on a wire. */
export type JobPayload = Readonly<Record<string, string | number | boolean | null>>;

export type JobContext = {
  /** 1 for the first run. Runs that a crash interrupted count. */
  readonly attempt: number;
  readonly attemptsMax: number;
  /** Aborted when the process is stopping and the time for running jobs is over. */
  readonly signal: AbortSignal;
};

/**
 * Work that outlives the request that queued it. A job may run twice (a crash after its effect, before
 * its completion was written), so `run` has to be idempotent. Throwing means "again later".
 */
export interface Job {
  /** `snake_case`, unique; it is stored, so renaming a job strands those that wait under the old name. */
  readonly name: string;
  /** The job also runs by the clock (UTC, five crontab fields), without a payload of its own. */
  readonly crontab?: string;
  run(payload: JobPayload, context: JobContext): Promise<void>;
}

/** Throws when the payload lacks the text, because another program queued the job. */
export function payloadText(payload: JobPayload, member: string): string {
  const value = payload[member];
  if (typeof value !== 'string') throw new TypeError(`the job's payload has no text '${member}'`);
  return value;
}
