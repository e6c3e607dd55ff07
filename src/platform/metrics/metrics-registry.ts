import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { CachedReading } from '../common/cached-reading.js';
import type { MonotonicClock } from '../common/clock.js';

/** Each application has its own registry instead of the process's global one: tests run several applications in one process. */
@Injectable()
export class MetricsRegistry extends Registry {
  constructor() {
    super();
    collectDefaultMetrics({ register: this });
  }
}

/** Scrapers come every ten seconds or less often; a faster reader gets the same figures again. */
const FIGURES_MAX_AGE_MS = 10_000;

/**
 * Figures that are read from the database when the metrics are read. The metrics of a process that lost its database
 * are the most useful ones: `without` replaces the figures then.
 */
export function databaseFigures<T>(
  clock: MonotonicClock,
  load: () => Promise<T>,
  without: T,
): () => Promise<T> {
  const reading = new CachedReading(clock, FIGURES_MAX_AGE_MS, () => load().catch(() => without));
  return () => reading.read();
}
