import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { getRouteAccess } from '../../platform/http/routes.js';
import { type Scope, getScopeKind } from '../auth/principal.js';
import { addressGroup, onAnswerEnd } from '../../platform/http/connections.js';
import type { FailedAuthentications } from '../auth/auth.guard.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { BODY_LIMIT_BYTES } from '../../platform/http/request-bodies.js';
import {
  FAILED_AUTHENTICATIONS_MAX,
  REQUESTS_PER_ADDRESS_MAX,
  WINDOW_SECONDS,
} from './rate-limit-policies.js';
import { RateLimitExceededError, BodiesBusyError } from './rate-limit.errors.js';

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
