import { createHash, timingSafeEqual } from 'node:crypto';
import type { Settings } from '../config/settings.js';
import { Problem } from '../errors/problem.js';

type MetricsSettings = Pick<Settings, 'environment' | 'metrics'>;

/**
 * How `/metrics` is served among the other routes: `open` to any caller, with a `token`, or `absent`, because it has its own
 * port or because production was given neither. Its contents (revenue by model, refusals, the state of the
 * providers) must not be public.
 */
export function metricsAccess({ environment, metrics }: MetricsSettings): 'open' | 'token' | 'absent' {
  if (metrics.port !== null) return 'absent';
  if (metrics.token !== null) return 'token';
  return environment === 'production' ? 'absent' : 'open';
}

/** Returns whether this `Authorization` header may read the metrics. It is compared in constant time. */
export function mayReadMetrics(token: string | null, authorization: string | undefined): boolean {
  if (token === null) return true;
  const sent = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(sent), digest(token));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

export class InvalidMetricsTokenError extends Problem {
  readonly code = 'invalid_metrics_token';
  constructor() {
    super(
      "The metrics need the header 'Authorization: Bearer <METRICS_TOKEN>' with the token of this service.",
    );
  }
}
