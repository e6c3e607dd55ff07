import { applyDecorators, SetMetadata, UseGuards } from '@nestjs/common';
import { RATE_LIMIT, RateLimitGuard } from './rate-limit.guard.js';
import type { RateLimitName } from './rate-limit-policies.js';

/**
 * Counts the requests of a route, by key and by account, against a limit that it may share with others.
 * On methods only, beside `@RequireScope()`, which documents the 429.
 */
export function RateLimited(name: RateLimitName): MethodDecorator {
  return applyDecorators(SetMetadata(RATE_LIMIT, name), UseGuards(RateLimitGuard));
}
