import type { ServerResponse } from 'node:http';
import {
  type CanActivate,
  createParamDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Principal, Scope } from '../auth/principal.js';
import { type RouteAccess, RouteAccessTable } from '../../platform/http/routes.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { onAnswerEnd } from '../../platform/http/connections.js';
import {
  QUERY_ROUTE_LIMITS,
  SCOPE_LIMITS,
  type RateLimitName,
  type RouteLimits,
  type Usage,
  usageHeaders,
} from './rate-limit-policies.js';
import { AccountBusyError, RateLimitExceededError } from './rate-limit.errors.js';
import { RateLimiter } from './rate-limiter.service.js';

export const RATE_LIMIT = 'coffer:rate-limit';

/** One account's requests may use this part of the database connections of a process. */
const POOL_SHARE = 1 / 3;

/**
 * Runs before every route, after authentication and before the body is validated: it counts the request against the limit
 * that `@RateLimited` names, or against the default of the scope that the route requires (`SCOPE_LIMITS`).
 */
@Injectable()
export class RateLimitGuard implements CanActivate {
  private readonly routes = new RouteAccessTable<Scope>();
  private readonly slots: AccountSlots;

  constructor(
    private readonly limiter: RateLimiter,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit' | 'databasePoolSize'>,
  ) {
    this.slots = new AccountSlots(Math.max(Math.floor(settings.databasePoolSize * POOL_SHARE), 1));
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
    if (principal.kind === 'operator_key' || !QUERY_ROUTE_LIMITS.has(counted)) return true;
    return this.slots.enter(principal.accountId, raw);
  }
}

/** Returns the limit of a route with this access, unless its handler names another; null means none. */
function getDefaultLimit(access: RouteAccess<Scope>, method: string): RateLimitName | null {
  if (access.public) return null;
  const limits = SCOPE_LIMITS[access.scope];
  if (limits === null) return null;
  return method === 'GET' || method === 'HEAD' ? limits.read : limits.write;
}

/**
 * Counts the requests of a route, by key and by account, against another limit than the default of its scope. It is used on
 * methods only, together with `@RequireScope()`, which documents the 429.
 *
 * @param shown limits that the route's service counts; the headers of every answer report them.
 */
export function RateLimited(counted: RateLimitName, ...shown: readonly RateLimitName[]): MethodDecorator {
  return SetMetadata(RATE_LIMIT, { counted, shown } satisfies RouteLimits);
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The limits that the answer reports; the guard of a limited route sets it. */
    limitReport?: LimitReport;
  }
}

/** Collects what was counted for one request, keeps the headers of its answer up to date, and reports its end. */
export class LimitReport {
  private readonly usages = new Map<string, Usage>();

  constructor(private readonly reply: Pick<FastifyReply, 'headers' | 'raw'>) {}

  /** The latest report of a limit counts. It is set at once, so that refusals and later errors carry the headers as well. */
  show(usages: readonly Usage[]): void {
    for (const usage of usages) this.usages.set(usage.limit, usage);
    this.reply.headers(usageHeaders([...this.usages.values()]));
  }

  /** Calls `listener` once: when the whole answer was sent, or its connection has ended. */
  onAnswerEnd(listener: () => void): void {
    onAnswerEnd(this.reply.raw, listener);
  }
}

/** `@Limits() limits: LimitReport` on a controller method whose service counts more than the guard did. */
export const Limits = createParamDecorator((_data: unknown, context: ExecutionContext) =>
  getLimitReport(context.getArgByIndex<FastifyRequest>(0), context.getArgByIndex<FastifyReply>(1)),
);

export function getLimitReport(request: FastifyRequest, reply: FastifyReply): LimitReport {
  return (request.limitReport ??= new LimitReport(reply));
}

/** A client that sends this many requests at once does not wait for answers. */
export const WAITING_PER_ACCOUNT_MAX = 100;

type SlotState = {
  working: number;
  /** They are in the order in which they came. */
  readonly waiting: Set<() => void>;
};

/**
 * Limits how many requests of one account this process works on at the same time: further ones wait for those of their own
 * account, so for any number of requests of one account, the others can still use the connections to the database. A slot is held until
 * the answer was sent or its connection has ended.
 */
export class AccountSlots {
  private readonly accounts = new Map<string, SlotState>();

  constructor(private readonly workingMax: number) {}

  /**
   * Returns true at once, or as soon as this request has a slot; never, when its client leaves before. Throws
   * `AccountBusyError` (429) when too many wait.
   */
  enter(accountId: string, response: ServerResponse): true | Promise<true> {
    const slots = this.getSlots(accountId);
    if (slots.working < this.workingMax) {
      slots.working += 1;
      onAnswerEnd(response, () => this.leave(accountId, slots));
      return true;
    }
    if (slots.waiting.size >= WAITING_PER_ACCOUNT_MAX) throw new AccountBusyError(WAITING_PER_ACCOUNT_MAX);
    return new Promise((resolve) => {
      const begin = (): void => resolve(true);
      slots.waiting.add(begin);
      onAnswerEnd(response, () => {
        if (!slots.waiting.delete(begin)) this.leave(accountId, slots);
      });
    });
  }

  /** Gives the slot to the first waiting request, after every request of the closed connection has been notified of its end. */
  private leave(accountId: string, slots: SlotState): void {
    queueMicrotask(() => {
      const [next] = slots.waiting;
      if (next !== undefined) {
        slots.waiting.delete(next);
        next();
        return;
      }
      slots.working -= 1;
      if (slots.working === 0) this.accounts.delete(accountId);
    });
  }

  private getSlots(accountId: string): SlotState {
    const known = this.accounts.get(accountId);
    if (known !== undefined) return known;
    const slots = { working: 0, waiting: new Set<() => void>() };
    this.accounts.set(accountId, slots);
    return slots;
  }
}
