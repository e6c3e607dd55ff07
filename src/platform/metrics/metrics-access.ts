import { createHash, timingSafeEqual } from 'node:crypto';
import type { Settings } from '../config/settings.js';

type MetricsSettings = Pick<Settings, 'environment' | 'metrics'>;

/**
 * Where `/metrics` is among the other routes: `open` to everybody, for a `token`, or `absent`, because it is on a port of
 * its own or because production was given neither. What it tells (revenue by model, refusals, the state of the
 * providers) is nobody else's business.
 */
export function metricsAccess({ environment, metrics }: MetricsSettings): 'open' | 'token' | 'absent' {
  if (metrics.port !== null) return 'absent';
  if (metrics.token !== null) return 'token';
  return environment === 'production' ? 'absent' : 'open';
}

/** Whether this `Authorization` header may read the metrics. Compared in constant time. */
export function mayReadMetrics(token: string | null, authorization: string | undefined): boolean {
  if (token === null) return true;
  const sent = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(sent), digest(token));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
