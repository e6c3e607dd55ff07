import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Principal, Scope } from '../auth/principal.js';
import { RouteAccessTable } from '../../platform/http/route-access.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { AccountTurns } from './account-turns.js';
import { type LimitReport, getLimitReport } from './limit-report.js';
import { TAKES_TURNS } from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';
import { RateLimiter } from './rate-limiter.service.js';
import { getDefaultLimit, type RouteLimits } from './route-limits.js';

export const RATE_LIMIT = 'coffer:rate-limit';

/** One account's requests may use this part of the database connections of a process. */
const POOL_SHARE = 1 / 3;

/**
 * Runs before every route, after authentication and before the body is validated: it counts the request against the limit
 * that `@RateLimited` names, or against the default of the scope that the route requires (`route-limits.ts`).
 */
@Injectable()
export class RateLimitGuard implements CanActivate {
  private readonly routes = new RouteAccessTable<Scope>();
  private readonly turns: AccountTurns;

  constructor(
    private readonly limiter: RateLimiter,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit' | 'databasePoolSize'>,
  ) {
    this.turns = new AccountTurns(Math.max(Math.floor(settings.databasePoolSize * POOL_SHARE), 1));
  }

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (!this.settings.rateLimit) return true;
    const request = context.getArgByIndex<FastifyRequest>(0);
    const limits = this.findLimits(context, request.method);
    if (limits === null) return true;
    const { principal } = request;
    if (principal === undefined) {
      throw new Error(`the limit '${limits.counted}' counts keys: its route needs a scope`);
    }
    const reply = context.getArgByIndex<FastifyReply>(1);
    return this.admit(limits, principal, getLimitReport(request, reply), reply);
  }

  private findLimits(context: ExecutionContext, method: string): RouteLimits | null {
    const handler = context.getHandler();
    const declared = Reflect.getMetadata(RATE_LIMIT, handler) as RouteLimits | undefined;
    if (declared !== undefined) return declared;
    const counted = getDefaultLimit(this.routes.get(context.getClass(), handler), method);
    return counted === null ? null : { counted, shown: [] };
  }

  private async admit(
    { counted, shown }: RouteLimits,
    principal: Principal,
    report: LimitReport,
    { raw }: FastifyReply,
  ): Promise<true> {
    const usages = await this.limiter.count(counted, principal, shown);
    report.show(usages);
    const exceeded = usages.find((usage) => usage.exceeded);
    if (exceeded !== undefined) throw new RateLimitExceededError(exceeded);
    if (principal.kind === 'operator_key' || !TAKES_TURNS.has(counted)) return true;
    return this.turns.enter(principal.accountId, raw);
  }
}
