import { Injectable } from '@nestjs/common';
import { Counter, Histogram } from 'prom-client';
import type { JobObserver } from './job-observer.js';
import { MetricsRegistry } from '../metrics/metrics-registry.js';

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
