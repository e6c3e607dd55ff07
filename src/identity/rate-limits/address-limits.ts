import type { FastifyInstance } from 'fastify';
import type { MonotonicClock } from '../../platform/common/clock.js';
import { AddressWindows } from './address-windows.js';
import { REQUESTS_PER_ADDRESS_MAX } from './rate-limit-policies.js';
import { RateLimitExceededError } from './rate-limit.errors.js';
import { isCountedByAddress } from './route-limits.js';

const LIMIT = 'requests-per-address';

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
    done(new RateLimitExceededError({ limit: LIMIT, max: REQUESTS_PER_ADDRESS_MAX, resetMs: waitMs }));
  });
}
