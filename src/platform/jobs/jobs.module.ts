import { Module } from '@nestjs/common';
import { FailedJobsCleanupJob } from './failed-jobs-cleanup.job.js';
import { JobQueue, JobRegistry } from './job-queue.js';
import { JobRunner } from './job-runner.service.js';
import { JobStatistics } from './job-statistics.service.js';

/**
 * Jobs on the service's own database. A module that has background work imports this one, registers its
 * jobs with `JobRegistry` and queues them with `JobQueue`.
 */
@Module({
  providers: [JobRegistry, JobQueue, JobRunner, JobStatistics, FailedJobsCleanupJob],
  exports: [JobRegistry, JobQueue, JobStatistics],
})
export class JobsModule {}
