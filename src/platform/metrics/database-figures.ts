import { CachedReading } from '../common/cached-reading.js';
import type { MonotonicClock } from '../common/clock.js';

/** Scrapers come every ten seconds or more seldom; whoever comes more often is shown the same figures again. */
const FIGURES_MAX_AGE_MS = 10_000;

/**
 * Figures that the database is asked for when somebody reads the metrics. The metrics of a process that lost its database
 * are worth the most: they come with `without` in their place then.
 */
export function databaseFigures<T>(
  clock: MonotonicClock,
  load: () => Promise<T>,
  without: T,
): () => Promise<T> {
  const reading = new CachedReading(clock, FIGURES_MAX_AGE_MS, () => load().catch(() => without));
  return () => reading.read();
}
