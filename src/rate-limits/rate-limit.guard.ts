import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Principal } from '../auth/principal.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { type LimitReport, reportOf } from './limit-report.js';
import type { RateLimitName } from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';
import { RateLimiter } from './rate-limiter.service.js';

export const RATE_LIMIT = 'coffer:rate-limit';

export type RouteLimits = {
  readonly counted: RateLimitName;
  /** Counted later, when the request is understood; every answer of the route tells how much is left. */
  readonly shown: readonly RateLimitName[];
};

/** Put on a route by `@RateLimited()`; runs after authentication, before the body is validated. */
@Injectable()
export class RateLimitGuard implements CanActivate {
  constructor(
    private readonly limiter: RateLimiter,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (!this.settings.rateLimit) return true;
    const limits = Reflect.getMetadata(RATE_LIMIT, context.getHandler()) as RouteLimits;
    const request = context.getArgByIndex<FastifyRequest>(0);
    const { principal } = request;
    if (principal === undefined) {
      throw new Error(`the limit '${limits.counted}' counts keys: its route needs a scope`);
    }
    return this.admit(limits, principal, reportOf(request, context.getArgByIndex<FastifyReply>(1)));
  }

  private async admit(
    { counted, shown }: RouteLimits,
    principal: Principal,
    report: LimitReport,
  ): Promise<true> {
    const usages = await this.limiter.count(counted, principal, shown);
    report.show(usages);
    const exceeded = usages.find((usage) => usage.exceeded);
    if (exceeded !== undefined) throw new RateLimitExceededError(exceeded);
    return true;
  }
}
