import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram } from 'prom-client';
import type { GenerationObserver } from './calls/generation-observer.js';
import { MetricsRegistry } from '../../platform/metrics/metrics-registry.js';

/** From the sandbox, which answers at once, to the longest time that a call waits. */
const DURATION_BUCKETS_SECONDS = [0.05, 0.25, 1, 2, 3, 5, 10, 30, 60, 120];

/** The values of the gauge, ordered from good to bad, so that an alert can use `> 0`. */
const CIRCUIT_VALUES = { closed: 0, half_open: 1, open: 2 } as const;

/** Publishes what happens to calls as metrics. */
@Injectable()
export class GenerationMetrics implements GenerationObserver {
  private readonly generations: Histogram;
  private readonly images: Counter;
  private readonly attempts: Histogram;
  private readonly fallThroughs: Counter;
  private readonly circuits: Gauge;
  private readonly accountRefusals: Counter;
  private readonly accountRefused: Gauge;

  constructor(registry: MetricsRegistry) {
    const registers = [registry];
    this.generations = new Histogram({
      name: 'coffer_generation_duration_seconds',
      help: 'Duration of calls by model and outcome. Calls with recovered="true" were settled by recovery.',
      labelNames: ['model', 'outcome', 'recovered'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers,
    });
    this.images = new Counter({
      name: 'coffer_images_delivered_total',
      help: 'Images that were delivered.',
      labelNames: ['model'],
      registers,
    });
    this.attempts = new Histogram({
      name: 'coffer_provider_attempt_duration_seconds',
      help: 'Duration of attempts at one image by provider and outcome.',
      labelNames: ['provider', 'outcome'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers,
    });
    this.fallThroughs = new Counter({
      name: 'coffer_provider_fall_throughs_total',
      help: 'Images for which another provider was asked after one had failed, by kind of failure.',
      labelNames: ['from', 'to', 'failure'],
      registers,
    });
    this.circuits = new Gauge({
      name: 'coffer_provider_circuit_state',
      help: 'State of the circuit breaker of a provider: 0 closed (asked), 1 half open (one call probes it), 2 open (not asked).',
      labelNames: ['provider'],
      registers,
    });
    this.accountRefusals = new Counter({
      name: 'coffer_upstream_account_refusals_total',
      help: 'Attempts that a provider refused because of our own key or our credit there.',
      labelNames: ['provider'],
      registers,
    });
    this.accountRefused = new Gauge({
      name: 'coffer_upstream_account_refused',
      help: 'Alert on 1: in its last answer the provider refused our own key, or our credit there was used up.',
      labelNames: ['provider'],
      registers,
    });
  }

  finished(event: Parameters<GenerationObserver['finished']>[0]): void {
    const { model, outcome, recovered, imagesDelivered, durationMs } = event;
    this.generations.observe({ model, outcome, recovered: String(recovered) }, durationMs / 1_000);
    if (imagesDelivered > 0) this.images.inc({ model }, imagesDelivered);
  }

  attempted({ provider, outcome, durationMs }: Parameters<GenerationObserver['attempted']>[0]): void {
    this.attempts.observe({ provider, outcome }, durationMs / 1_000);
  }

  fellThrough(event: Parameters<GenerationObserver['fellThrough']>[0]): void {
    this.fallThroughs.inc(event);
  }

  circuitMoved({ provider, state }: Parameters<GenerationObserver['circuitMoved']>[0]): void {
    this.circuits.set({ provider }, CIRCUIT_VALUES[state]);
    // The series exist from the start, so that an alert always has data.
    this.accountRefused.inc({ provider }, 0);
    this.accountRefusals.inc({ provider }, 0);
  }

  accountAnswered({ provider, refused }: Parameters<GenerationObserver['accountAnswered']>[0]): void {
    this.accountRefused.set({ provider }, refused ? 1 : 0);
    if (refused) this.accountRefusals.inc({ provider });
  }
}
