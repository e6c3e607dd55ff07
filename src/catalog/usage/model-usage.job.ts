import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CLOCK, type Clock } from '../../common/clock.js';
import { JobRegistry } from '../../jobs/job-registry.js';
import type { Job } from '../../jobs/job.js';

const HOUR_MS = 3_600_000;
/** An image is delivered at most some minutes after its task began; the hours it may still change are counted anew. */
const OPEN_HOURS = 2;
/** The longest window of the ranking, and a day more. Where the job was away for longer, older hours stay uncounted. */
const COUNTED_BACK_MS = 31 * 24 * HOUR_MS;

/**
 * Delivered images by the hour in which they were begun, over all customers. The tasks' index by time keeps
 * this to the rows since the last count. Counting an hour again gives the same number, so a run may repeat.
 */
const COUNT = `
  INSERT INTO model_usage (hour, model, images)
  SELECT date_trunc('hour', t.created_at, 'UTC'), g.model, count(*)
    FROM generation_tasks t JOIN generations g ON g.account_id = t.account_id AND g.id = t.generation_id
   WHERE t.status = 'delivered' AND t.created_at >= $1
   GROUP BY 1, 2
  ON CONFLICT (hour, model) DO UPDATE SET images = excluded.images
   WHERE model_usage.images <> excluded.images`;

/** Keeps the numbers that the ranking adds up, so that no page view looks through generations. */
@Injectable()
export class ModelUsageJob implements Job {
  readonly name = 'model_usage';
  readonly crontab = '* * * * *';

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    await this.dataSource.query(COUNT, [new Date(await this.since()).toISOString()]);
  }

  /** From the last counted hour, less those that were still open then. */
  private async since(): Promise<number> {
    const [row] = await this.dataSource.query<{ newest: Date | null }[]>(
      'SELECT max(hour) AS newest FROM model_usage',
    );
    const nowMs = this.clock.nowMs();
    const oldestMs = Math.floor((nowMs - COUNTED_BACK_MS) / HOUR_MS) * HOUR_MS;
    const newestMs = row?.newest?.getTime() ?? oldestMs;
    // A clock that ran ahead once must not stop the counting until its hour has come.
    return Math.max(oldestMs, Math.min(newestMs, nowMs) - OPEN_HOURS * HOUR_MS);
  }
}
