import { Injectable } from '@nestjs/common';
import { Gauge } from 'prom-client';
import { type JobCounts, JobStatistics } from '../jobs/job-statistics.service.js';
import { MetricsRegistry } from './metrics-registry.js';

const STATES = ['waiting', 'running', 'failed'] as const;

/** What stands in the job queue, read from the database when somebody asks for the metrics. */
@Injectable()
export class JobQueueMetrics {
  constructor(
    registry: MetricsRegistry,
    private readonly statistics: JobStatistics,
  ) {
    const read = () => this.read();
    new Gauge({
      name: 'coffer_jobs',
      help: 'Jobs in the queue: waiting, running, failed (no attempt left).',
      labelNames: ['job', 'state'],
      registers: [registry],
      async collect() {
        const counts = await read();
        this.reset();
        for (const count of counts)
          for (const state of STATES) this.set({ job: count.name, state }, count[state]);
      },
    });
    new Gauge({
      name: 'coffer_job_lag_seconds',
      help: 'How long the longest-waiting job that is due has been due.',
      labelNames: ['job'],
      registers: [registry],
      async collect() {
        const counts = await read();
        this.reset();
        for (const { name, lagSeconds } of counts) this.set({ job: name }, lagSeconds);
      },
    });
  }

  /** The metrics of a process that lost its database are worth the most: they come without these then. */
  private read(): Promise<readonly JobCounts[]> {
    return this.statistics.read().catch(() => []);
  }
}
