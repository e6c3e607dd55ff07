import { Injectable } from '@nestjs/common';
import { Counter, Histogram } from 'prom-client';
import { MetricsRegistry } from './metrics-registry.js';

/** They reach from a debit on a quiet machine to a call that waited for a slow image. */
const DURATION_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120];

/** Paths that match no route are one series, so that scanning for paths cannot grow the memory. */
const UNMATCHED = 'unmatched';

export type AnsweredRequest = {
  readonly method: string;
  /** The route's pattern; undefined when none matched. */
  readonly route: string | undefined;
  readonly status: number;
  readonly durationMs: number;
  /** The catalogue's code when the request was refused. */
  readonly problemCode: string | undefined;
};

@Injectable()
export class RequestMetrics {
  private readonly duration: Histogram;
  private readonly problems: Counter;

  constructor(registry: MetricsRegistry) {
    this.duration = new Histogram({
      name: 'coffer_http_request_duration_seconds',
      help: 'Requests by route, and how long their answers took.',
      labelNames: ['method', 'route', 'status'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers: [registry],
    });
    this.problems = new Counter({
      name: 'coffer_http_problems_total',
      help: 'Refused requests by error code.',
      labelNames: ['code'],
      registers: [registry],
    });
  }

  answered(request: AnsweredRequest): void {
    const { method, route = UNMATCHED, status } = request;
    this.duration.observe({ method, route, status }, request.durationMs / 1_000);
    if (request.problemCode !== undefined) this.problems.inc({ code: request.problemCode });
  }
}
