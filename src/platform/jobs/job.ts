/** JSON, because it waits in a database column. Money travels as strings, as everywhere on a wire. */
export type JobPayload = Readonly<Record<string, string | number | boolean | null>>;

export type JobContext = {
  /** 1 for the first run. Runs that a crash cut short count. */
  readonly attempt: number;
  readonly attemptsMax: number;
  /** Aborted when the process is stopping and the job has used up its grace. */
  readonly signal: AbortSignal;
};

/**
 * Work that outlives the request that asked for it. A job may run twice (a crash after its effect, before
 * its completion was written), so `run` has to be idempotent. Throwing means "again later".
 */
export interface Job {
  /** `snake_case`, unique; it is stored, so renaming one strands what waits under the old name. */
  readonly name: string;
  /** Runs by the clock (UTC, five crontab fields) as well, without a payload of its own. */
  readonly crontab?: string;
  run(payload: JobPayload, context: JobContext): Promise<void>;
}

/** Throws when the payload lacks the text: a job queued by other code than ours. */
export function payloadText(payload: JobPayload, member: string): string {
  const value = payload[member];
  if (typeof value !== 'string') throw new TypeError(`the job's payload has no text '${member}'`);
  return value;
}
