import { Inject, Injectable } from '@nestjs/common';
import { Gauge } from 'prom-client';
import { DataSource } from 'typeorm';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { databaseFigures, MetricsRegistry } from '../../platform/metrics/metrics-registry.js';

type Waiting = { readonly status: string; readonly count: number; readonly seconds: number };

const WAITING = `
  SELECT s.status, count(r.id)::int AS count,
         coalesce(extract(epoch FROM now() - min(r.created_at)), 0)::float8 AS seconds
    FROM unnest(ARRAY['open', 'returning', 'failed']) AS s (status)
    LEFT JOIN payment_reviews r ON r.status = s.status AND r.status IN ('open', 'returning', 'failed')
   GROUP BY s.status`;

/** Payments that wait for an operator (`open`, `failed`) or for Stripe. They are counted when the metrics are read. */
@Injectable()
export class PaymentReviewMetrics {
  constructor(registry: MetricsRegistry, dataSource: DataSource, @Inject(CLOCK) clock: MonotonicClock) {
    const read = databaseFigures(clock, () => dataSource.query<Waiting[]>(WAITING), []);
    new Gauge({
      name: 'coffer_payments_under_review',
      help: 'Payments that contradict their quote: open or failed wait for an operator, returning for Stripe.',
      labelNames: ['status'],
      registers: [registry],
      async collect() {
        const waiting = await read();
        this.reset();
        for (const { status, count } of waiting) this.set({ status }, count);
      },
    });
    new Gauge({
      name: 'coffer_payment_review_age_seconds',
      help: 'How long the oldest payment under review has waited; 0 when there is none.',
      labelNames: ['status'],
      registers: [registry],
      async collect() {
        const waiting = await read();
        this.reset();
        for (const { status, seconds } of waiting) this.set({ status }, seconds);
      },
    });
  }
}
