import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Principal } from '../auth/principal.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import type { RateLimitName } from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';
import { RateLimiter } from './rate-limiter.service.js';
import { usageHeaders } from './usage.js';

export const RATE_LIMIT = 'coffer:rate-limit';

/** Put on a route by `@RateLimited()`; runs after authentication, before the body is validated. */
@Injectable()
export class RateLimitGuard implements CanActivate {
  constructor(
    private readonly limiter: RateLimiter,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (!this.settings.rateLimit) return true;
    const name = Reflect.getMetadata(RATE_LIMIT, context.getHandler()) as RateLimitName;
    const { principal } = context.getArgByIndex<FastifyRequest>(0);
    if (principal === undefined) throw new Error(`the limit '${name}' counts keys: its route needs a scope`);
    return this.admit(name, principal, context.getArgByIndex<FastifyReply>(1));
  }

  private async admit(name: RateLimitName, principal: Principal, reply: FastifyReply): Promise<true> {
    const usages = await this.limiter.count(name, principal);
    // Set on the reply before it is decided, so that refusals and later errors carry them as well.
    reply.headers(usageHeaders(usages));
    const exceeded = usages.find((usage) => usage.exceeded);
    if (exceeded !== undefined) {
      throw new RateLimitExceededError(exceeded.limit, exceeded.max, exceeded.resetMs);
    }
    return true;
  }
}
