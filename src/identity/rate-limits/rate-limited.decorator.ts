import { SetMetadata } from '@nestjs/common';
import { RATE_LIMIT } from './rate-limit.guard.js';
import type { RateLimitName } from './rate-limit-policies.js';
import type { RouteLimits } from './route-limits.js';

/**
 * Counts the requests of a route, by key and by account, against another limit than the default of its scope. It is used on
 * methods only, together with `@RequireScope()`, which documents the 429.
 *
 * @param shown limits that the route's service counts; the headers of every answer report them.
 */
export function RateLimited(counted: RateLimitName, ...shown: readonly RateLimitName[]): MethodDecorator {
  return SetMetadata(RATE_LIMIT, { counted, shown } satisfies RouteLimits);
}
