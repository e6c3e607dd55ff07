import { Inject, Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram } from 'prom-client';
import { MetricsRegistry, databaseFigures } from '../metrics/metrics-registry.js';
import { CLOCK, type MonotonicClock } from '../common/clock.js';
import type { JobObserver } from './job-runner.service.js';
import { JobStatisticsService } from './job-statistics.service.js';

const DURATION_BUCKETS_SECONDS = [0.005, 0.025, 0.1, 0.5, 2, 10, 60];

/** What the job runner reports about itself. */
@Injectable()
export class JobMetrics implements JobObserver {
  private readonly duration: Histogram;
  private readonly restarts: Counter;

  constructor(registry: MetricsRegistry) {
    this.duration = new Histogram({
      name: 'coffer_job_duration_seconds',
      help: 'Attempts of jobs by name and outcome: completed, failed (runs again), exhausted (a person has to look).',
      labelNames: ['job', 'outcome'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers: [registry],
    });
    this.restarts = new Counter({
      name: 'coffer_job_runner_restarts_total',
      help: 'How often the job runner lost its connections, usually to the database, and started again.',
      registers: [registry],
    });
  }

  completed(job: string, durationMs: number): void {
    this.duration.observe({ job, outcome: 'completed' }, durationMs / 1_000);
  }

  failed(job: string, durationMs: number, final: boolean): void {
    this.duration.observe({ job, outcome: final ? 'exhausted' : 'failed' }, durationMs / 1_000);
  }

  restarted(): void {
    this.restarts.inc();
  }
}

const STATES = ['waiting', 'running', 'failed'] as const;

/** The contents of the job queue, read from the database when the metrics are read. */
@Injectable()
export class JobQueueMetrics {
  constructor(
    registry: MetricsRegistry,
    statistics: JobStatisticsService,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
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
