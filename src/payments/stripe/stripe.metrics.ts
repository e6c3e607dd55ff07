import { Injectable } from '@nestjs/common';
import { Counter } from 'prom-client';
import { MetricsRegistry } from '../../platform/metrics/metrics-registry.js';

/** What was missing among the events that Stripe delivered. */
@Injectable()
export class StripeMetrics {
  private readonly missed: Counter;

  constructor(registry: MetricsRegistry) {
    this.missed = new Counter({
      name: 'coffer_stripe_events_missed_total',
      help: 'Events that Stripe created, that never arrived as webhooks, and that were read from its list.',
      labelNames: ['type'],
      registers: [registry],
    });
  }

  /** Called when `count` events of this type were found at Stripe that had never arrived here. */
  eventsMissed(type: string, count: number): void {
    this.missed.inc({ type }, count);
  }
}
