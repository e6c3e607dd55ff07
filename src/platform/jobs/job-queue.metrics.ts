import { Inject, Injectable } from '@nestjs/common';
import { Gauge } from 'prom-client';
import { CLOCK, type MonotonicClock } from '../common/clock.js';
import { JobStatistics } from './job-statistics.service.js';
import { databaseFigures } from '../metrics/database-figures.js';
import { MetricsRegistry } from '../metrics/metrics-registry.js';

const STATES = ['waiting', 'running', 'failed'] as const;

/** The contents of the job queue, read from the database when the metrics are read. */
@Injectable()
export class JobQueueMetrics {
  constructor(registry: MetricsRegistry, statistics: JobStatistics, @Inject(CLOCK) clock: MonotonicClock) {
    const read = databaseFigures(clock, () => statistics.read(), []);
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
}
