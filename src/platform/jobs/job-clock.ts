import { parseCronItems, type ParsedCronItem } from 'graphile-worker';
import type { DataSource } from 'typeorm';
import type { Clock } from '../common/clock.js';
import type { Job } from './job-queue.js';

const MINUTE_MS = 60_000;
/** When the jobs of a minute could not be queued, this is the pause before the next try, until the next minute comes. */
export const RETRY_MS = 2_000;
/** The clock queues a recurring job again soon, so it needs few attempts. */
const ATTEMPTS_MAX = 3;

/**
 * The first process to record the minute queues its jobs; the others find it recorded. Of a job that is slow, or that no runner
 * takes, one waits and one runs: the key keeps one waiting, the queue lets one run. A minute in the future was recorded by a wrong
 * clock; respecting it would stop the job until then.
 */
const QUEUE_DUE = `
  WITH due AS (
    INSERT INTO graphile_worker._private_known_crontabs AS known (identifier, known_since, last_execution)
    SELECT name, $2::timestamptz, $2::timestamptz FROM unnest($1::text[]) AS name
    ON CONFLICT (identifier) DO UPDATE SET last_execution = excluded.last_execution
      WHERE known.last_execution IS NULL OR known.last_execution < excluded.last_execution
         OR known.last_execution > clock_timestamp() + interval '1 minute'
    RETURNING identifier
  )
  SELECT graphile_worker.add_job(
           identifier, '{}'::json, queue_name => identifier, max_attempts => $3::int,
           job_key => 'recurring:' || identifier)
    FROM due`;

/**
 * Queues recurring jobs when their minute (UTC) comes, once for all processes. What was missed while no process was running
 * is not repeated: the next run does everything that is due. The library's own clock does the same, but ends the process
 * when the database is unreachable at the full minute.
 */
export class JobClock {
  private readonly items: readonly ParsedCronItem[];
  private timer: NodeJS.Timeout | null = null;
  private queueing: Promise<void> = Promise.resolve();

  constructor(
    jobs: readonly Job[],
    private readonly dataSource: DataSource,
    private readonly clock: Clock,
    private readonly onFailure: (error: unknown) => void,
  ) {
    this.items = parseCronItems(
      jobs.flatMap(({ name, crontab }) => (crontab === undefined ? [] : { task: name, match: crontab })),
    );
  }

  start(): void {
    if (this.items.length > 0) this.waitFor(minuteAfter(this.clock.nowMs()));
  }

  async stop(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    await this.queueing;
  }

  private waitFor(minuteMs: number, atMs = minuteMs): void {
    const waitMs = Math.max(0, atMs - this.clock.nowMs());
    this.timer = setTimeout(() => {
      this.queueing = this.onMinute(minuteMs);
    }, waitMs);
    this.timer.unref();
  }

  private async onMinute(minuteMs: number): Promise<void> {
    const stopped = this.timer === null;
    if (stopped) return;
    // A timer may fire slightly early; then the minute has not come yet.
    if (this.clock.nowMs() < minuteMs) return this.waitFor(minuteMs);
    const failed = await this.queueDue(minuteMs).then(
      () => false,
      (error: unknown) => {
        this.onFailure(error);
        return true;
      },
    );
    if (this.timer === null) return;
    const nowMs = this.clock.nowMs();
    const retryAtMs = nowMs + RETRY_MS;
    if (failed && retryAtMs < minuteMs + MINUTE_MS) return this.waitFor(minuteMs, retryAtMs);
    this.waitFor(minuteAfter(nowMs));
  }

  private async queueDue(minuteMs: number): Promise<void> {
    const minute = new Date(minuteMs);
    const digest = {
      min: minute.getUTCMinutes(),
      hour: minute.getUTCHours(),
      date: minute.getUTCDate(),
      month: minute.getUTCMonth() + 1,
      dow: minute.getUTCDay(),
    };
    const due = this.items.filter(({ match }) => match(digest)).map(({ task }) => task);
    if (due.length > 0) await this.dataSource.query(QUEUE_DUE, [due, minute.toISOString(), ATTEMPTS_MAX]);
  }
}

function minuteAfter(nowMs: number): number {
  return (Math.floor(nowMs / MINUTE_MS) + 1) * MINUTE_MS;
}
