import type { FastifyInstance } from 'fastify';
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { getRouteAccess } from '../../platform/http/route-access.js';
import type { Scope } from '../auth/principal.js';
import { addressGroup } from '../../platform/common/address-group.js';
import type { FailedAuthentications } from '../auth/auth.guard.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import {
  FAILED_AUTHENTICATIONS_MAX,
  REQUESTS_PER_ADDRESS_MAX,
  WINDOW_SECONDS,
} from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';

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
