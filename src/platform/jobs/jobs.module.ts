import { Module } from '@nestjs/common';
import { FailedJobsCleanupJob } from './failed-jobs-cleanup.job.js';
import { JobQueue, JobRegistry } from './job-queue.js';
import { JobRunnerService } from './job-runner.service.js';
import { JobStatisticsService } from './job-statistics.service.js';

/**
 * Jobs on the service's own database. A module that has background work imports this one, registers its
 * jobs with `JobRegistry` and queues them with `JobQueue`.
 */
@Module({
  providers: [JobRegistry, JobQueue, JobRunnerService, JobStatisticsService, FailedJobsCleanupJob],
  exports: [JobRegistry, JobQueue, JobStatisticsService],
})
export class JobsModule {}
