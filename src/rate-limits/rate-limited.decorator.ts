import { applyDecorators, SetMetadata, UseGuards } from '@nestjs/common';
import { RATE_LIMIT, RateLimitGuard, type RouteLimits } from './rate-limit.guard.js';
import type { RateLimitName } from './rate-limit-policies.js';

/**
 * Counts the requests of a route, by key and by account, against a limit that it may share with others.
 * On methods only, beside `@RequireScope()`, which documents the 429.
 *
 * @param shown limits that the route's service counts; the answer's headers tell of them whatever happens.
 */
export function RateLimited(counted: RateLimitName, ...shown: readonly RateLimitName[]): MethodDecorator {
  return applyDecorators(
    SetMetadata(RATE_LIMIT, { counted, shown } satisfies RouteLimits),
    UseGuards(RateLimitGuard),
  );
}
