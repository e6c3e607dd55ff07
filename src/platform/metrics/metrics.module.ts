import { type DynamicModule, Global, Module } from '@nestjs/common';
import type { Settings } from '../config/settings.js';
import { JOB_OBSERVER } from '../jobs/job-observer.js';
import { JobsModule } from '../jobs/jobs.module.js';
import { JobMetrics } from '../jobs/jobs.metrics.js';
import { JobQueueMetrics } from '../jobs/job-queue.metrics.js';
import { MetricsController } from './metrics.controller.js';
import { metricsAccess } from './metrics-access.js';
import { MetricsRegistry } from './metrics-registry.js';
import { MetricsServer } from './metrics-server.js';
import { RequestMetrics } from './request-metrics.js';

/** Global: every module registers its own metrics (`*.metrics.ts`) with `MetricsRegistry`. */
@Global()
@Module({
  imports: [JobsModule],
  providers: [
    MetricsRegistry,
    MetricsServer,
    RequestMetrics,
    JobMetrics,
    JobQueueMetrics,
    { provide: JOB_OBSERVER, useExisting: JobMetrics },
  ],
  exports: [MetricsRegistry, RequestMetrics, JOB_OBSERVER],
})
export class MetricsModule {
  static with(settings: Settings): DynamicModule {
    const isRoute = metricsAccess(settings) !== 'absent';
    return { module: MetricsModule, controllers: isRoute ? [MetricsController] : [] };
  }
}
