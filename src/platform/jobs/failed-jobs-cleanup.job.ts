import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { type Job, JobRegistry } from './job-queue.js';

/** Long enough for an operator to see what failed; a job that fails every minute must not fill the disk. */
const FAILED_JOBS_KEPT_DAYS = 30;

const DELETE_OLD_FAILURES = `
  SELECT FROM graphile_worker.complete_jobs(ARRAY(
    SELECT id FROM graphile_worker.jobs
     WHERE attempts >= max_attempts AND locked_at IS NULL AND updated_at < now() - make_interval(days => $1)))`;

/** Deletes jobs that used up their attempts long ago. The logs still say what they should have done. */
@Injectable()
export class FailedJobsCleanupJob implements Job {
  readonly name = 'failed_jobs_cleanup';
  readonly crontab = '17 4 * * *';

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    await this.dataSource.query(DELETE_OLD_FAILURES, [FAILED_JOBS_KEPT_DAYS]);
  }
}
