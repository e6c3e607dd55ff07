import { Injectable } from '@nestjs/common';
import { Counter, Histogram } from 'prom-client';
import type { GenerationObserver } from '../generation/generation-observer.js';
import { MetricsRegistry } from './metrics-registry.js';

/** From an instant sandbox to the longest that a call waits. */
const DURATION_BUCKETS_SECONDS = [0.05, 0.25, 1, 2, 3, 5, 10, 30, 60, 120];

/** What image generation tells about itself. */
@Injectable()
export class GenerationMetrics implements GenerationObserver {
  private readonly generations: Histogram;
  private readonly images: Counter;
  private readonly attempts: Histogram;

  constructor(registry: MetricsRegistry) {
    const registers = [registry];
    this.generations = new Histogram({
      name: 'coffer_generation_duration_seconds',
      help: 'Generations by model and outcome; recovered ones were settled after their caller was answered.',
      labelNames: ['model', 'outcome', 'recovered'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers,
    });
    this.images = new Counter({
      name: 'coffer_images_delivered_total',
      help: 'Images that were delivered, and so paid for.',
      labelNames: ['model'],
      registers,
    });
    this.attempts = new Histogram({
      name: 'coffer_provider_attempt_duration_seconds',
      help: 'Attempts at one image by provider and outcome.',
      labelNames: ['provider', 'outcome'],
      buckets: DURATION_BUCKETS_SECONDS,
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
}
