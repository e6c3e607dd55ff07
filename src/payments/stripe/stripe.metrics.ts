import { Injectable } from '@nestjs/common';
import { Counter } from 'prom-client';
import type { PaymentsObserver } from './payments-observer.js';
import { MetricsRegistry } from '../../platform/metrics/metrics-registry.js';

/** The metrics of payments. */
@Injectable()
export class PaymentMetrics implements PaymentsObserver {
  private readonly missed: Counter;

  constructor(registry: MetricsRegistry) {
    this.missed = new Counter({
      name: 'coffer_stripe_events_missed_total',
      help: 'Events that Stripe created, that never arrived as webhooks, and that were read from its list.',
      labelNames: ['type'],
      registers: [registry],
    });
  }

  eventsMissed(type: string, count: number): void {
    this.missed.inc({ type }, count);
  }
}
