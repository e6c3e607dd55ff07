import { Global, Module } from '@nestjs/common';
import { JOB_OBSERVER } from './job-runner.service.js';
import { JobQueueMetrics, JobMetrics } from './jobs.metrics.js';
import { JobsModule } from './jobs.module.js';

/** Separate from `JobsModule`, so that a process without metrics can run jobs. It is global, because the runner needs its observer. */
@Global()
@Module({
  imports: [JobsModule],
  providers: [JobMetrics, JobQueueMetrics, { provide: JOB_OBSERVER, useExisting: JobMetrics }],
  exports: [JOB_OBSERVER],
})
export class JobMetricsModule {}
