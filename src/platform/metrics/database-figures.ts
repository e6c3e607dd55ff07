import { CachedReading } from '../common/cached-reading.js';
import type { MonotonicClock } from '../common/clock.js';

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
