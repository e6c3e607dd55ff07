import type { ServerResponse } from 'node:http';
import {
  type CanActivate,
  createParamDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest, FastifyInstance } from 'fastify';
import { type Principal, type Scope, getScopeKind } from '../auth/principal.js';
import { type RouteAccess, RouteAccessTable, getRouteAccess } from '../../platform/http/routes.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { onAnswerEnd, addressGroup } from '../../platform/http/connections.js';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import type { FailedAuthentications } from '../auth/auth.guard.js';
import { BODY_LIMIT_BYTES } from '../../platform/http/request-bodies.js';
import {
  QUERY_ROUTE_LIMITS,
  SCOPE_LIMITS,
  type RateLimitName,
  type RouteLimits,
  type Usage,
  usageHeaders,
  FAILED_AUTHENTICATIONS_MAX,
  REQUESTS_PER_ADDRESS_MAX,
  WINDOW_SECONDS,
} from './rate-limit-policies.js';
import { AccountBusyError, RateLimitExceededError, BodiesBusyError } from './rate-limit.errors.js';
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

const REQUESTS_LIMIT = 'requests-per-address';

/**
 * Limits requests without a key by their network address, when their headers are read: pages, the catalogue, the API
 * document, unknown paths, requests with a forgotten key. Call it before the routes are registered.
 */
export function limitAddresses(fastify: FastifyInstance, clock: MonotonicClock): void {
  const windows = new AddressWindows(REQUESTS_PER_ADDRESS_MAX, clock);
  fastify.addHook('onRequest', (request, _reply, done) => {
    const hasCredentials = request.headers.authorization !== undefined;
    if (!isCountedByAddress(request.routeOptions.config, hasCredentials)) return done();
    const { ip } = request;
    const waitMs = windows.getWaitMs(ip);
    if (waitMs === null) {
      windows.count(ip);
      return done();
    }
    done(
      new RateLimitExceededError({ limit: REQUESTS_LIMIT, max: REQUESTS_PER_ADDRESS_MAX, resetMs: waitMs }),
    );
  });
}

/**
 * Returns whether requests are limited by network address: those to public routes and pages, those that match no route, and
 * those without a key where one is needed. An invalid key is counted where it is refused.
 */
function isCountedByAddress(config: unknown, hasCredentials: boolean): boolean {
  const access = getRouteAccess<Scope>(config);
  if (access === undefined) return true;
  return access.public ? access.uncounted === undefined : !hasCredentials;
}

const WINDOW_MS = WINDOW_SECONDS * 1_000;
/** They take about ten megabytes. Beyond this the oldest count is removed: no count would stop an attacker with that many addresses. */
const ADDRESSES_MAX = 50_000;

type Window = { readonly endsAtMs: number; count: number };

/**
 * Counts by network address, in memory only: each process protects itself, and a flood must not become a flood of Redis
 * commands. It sets no timers and stores a bounded number of addresses.
 */
export class AddressWindows {
  /** They are in the order in which they end: all are equally long, and one that begins again moves to the end. */
  private readonly windows = new Map<string, Window>();

  constructor(
    private readonly max: number,
    private readonly clock: MonotonicClock,
  ) {}

  /** Returns how long the address has to wait; null when it has not reached its maximum. It counts nothing. */
  getWaitMs(address: string): number | null {
    const window = this.find(addressGroup(address));
    if (window === null || window.count < this.max) return null;
    return window.endsAtMs - this.clock.monotonicMs();
  }

  count(address: string): void {
    const group = addressGroup(address);
    const window = this.find(group);
    if (window === null) this.begin(group);
    else window.count += 1;
  }

  /** The number of stored addresses. */
  get size(): number {
    return this.windows.size;
  }

  private find(group: string): Window | null {
    const window = this.windows.get(group);
    return window !== undefined && window.endsAtMs > this.clock.monotonicMs() ? window : null;
  }

  private begin(group: string): void {
    this.windows.delete(group);
    for (const [oldest, { endsAtMs }] of this.windows) {
      if (endsAtMs > this.clock.monotonicMs() && this.windows.size < ADDRESSES_MAX) break;
      this.windows.delete(oldest);
    }
    this.windows.set(group, { endsAtMs: this.clock.monotonicMs() + WINDOW_MS, count: 1 });
  }
}

const FAILURES_LIMIT = 'failed-authentications-per-address';

@Injectable()
export class FailedAuthenticationCounter implements FailedAuthentications {
  private readonly windows: AddressWindows;

  constructor(
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
    this.windows = new AddressWindows(FAILED_AUTHENTICATIONS_MAX, clock);
  }

  refusalFor(address: string): Promise<RateLimitExceededError | null> {
    const resetMs = this.settings.rateLimit ? this.windows.getWaitMs(address) : null;
    if (resetMs === null) return Promise.resolve(null);
    return Promise.resolve(
      new RateLimitExceededError({ limit: FAILURES_LIMIT, max: FAILED_AUTHENTICATIONS_MAX, resetMs }),
    );
  }

  record(address: string): Promise<void> {
    if (this.settings.rateLimit) this.windows.count(address);
    return Promise.resolve();
  }
}

/** A body of this size needs no more memory than its connection, and the number of connections is limited. */
const LIGHT_BYTES = 16_384;
/** The limit for the bodies that one account is sending to a process: sixteen of the largest. */
export const BODY_BYTES_PER_ACCOUNT_MAX = 16 * BODY_LIMIT_BYTES;
/** The limit for bodies without a key, such as events that claim to be Stripe's: as much as one account, and a quarter of it for each address. */
export const BODY_BYTES_OF_STRANGERS_MAX = 16 * BODY_LIMIT_BYTES;
export const BODY_BYTES_PER_ADDRESS_MAX = 4 * BODY_LIMIT_BYTES;

/** The bodies that are counted together, and how large they may be. */
type Share = { readonly name: string; readonly bytesMax: number };

/**
 * Limits the memory of the larger bodies that are arriving, for each account and for all requests without a key: each body is held
 * until it is complete, and may arrive slowly. Call it after `authenticateBeforeBodies`, whose principal it uses, and before the
 * routes are registered.
 *
 * @param unreadUrl a route that counts its own bodies.
 */
export function limitBodies(fastify: FastifyInstance, unreadUrl: string): void {
  const held = new Map<string, number>();
  fastify.addHook('onRoute', (route) => {
    const access = getRouteAccess<Scope>(route.config);
    if (access === undefined || route.url === unreadUrl) return;
    // Operators' keys belong to the platform, and on the gateway's debits a hook would cost the most.
    if (!access.public && getScopeKind(access.scope) !== 'account_key') return;
    route.onRequest = [
      ...[route.onRequest ?? []].flat(),
      (request, { raw }, done) => {
        const bytes = getAnnouncedBytes(request);
        if (bytes <= LIGHT_BYTES) return done();
        const shares = getShares(request);
        if (shares.some(({ name, bytesMax }) => (held.get(name) ?? 0) + bytes > bytesMax))
          return done(new BodiesBusyError());
        for (const { name } of shares) add(held, name, bytes);
        onAnswerEnd(raw, () => {
          for (const { name } of shares) add(held, name, -bytes);
        });
        done();
      },
    ];
  });
}

/** Returns the shares by the request's origin: an address is never the same text as an account's id. */
function getShares({ principal, ip }: FastifyRequest): readonly Share[] {
  if (principal?.kind === 'account_key')
    return [{ name: principal.accountId, bytesMax: BODY_BYTES_PER_ACCOUNT_MAX }];
  return [
    { name: 'strangers', bytesMax: BODY_BYTES_OF_STRANGERS_MAX },
    { name: addressGroup(ip), bytesMax: BODY_BYTES_PER_ADDRESS_MAX },
  ];
}

function add(held: Map<string, number>, name: string, bytes: number): void {
  const left = (held.get(name) ?? 0) + bytes;
  if (left > 0) held.set(name, left);
  else held.delete(name);
}

/** Returns the announced size, or the largest allowed one when the client does not announce it. */
function getAnnouncedBytes({ raw: { headers } }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return BODY_LIMIT_BYTES;
  // A body that is announced to be larger is refused before any of it is read.
  return Math.min(Number(headers['content-length'] ?? 0), BODY_LIMIT_BYTES);
}
