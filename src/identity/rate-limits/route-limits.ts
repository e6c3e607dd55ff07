import { getRouteAccess, type RouteAccess } from '../../platform/http/route-access.js';
import type { Scope } from '../auth/principal.js';
import type { RateLimitName } from './rate-limit-policies.js';

/** The limits that the requests of a route are counted against. */
export type RouteLimits = {
  readonly counted: RateLimitName;
  /** These are counted later, when the request is parsed; every answer of the route reports how much is left. */
  readonly shown: readonly RateLimitName[];
};

type ScopeLimits = { readonly read: RateLimitName; readonly write: RateLimitName };

/**
 * Every route with a key has a limit: this one, by the scope that it requires, unless `@RateLimited` names another. A scope
 * without an entry does not compile, so no route is forgotten. Null means that its routes are not limited.
 */
export const LIMITS_OF_SCOPES: Readonly<Record<Scope, ScopeLimits | null>> = {
  generate: { read: 'reads', write: 'writes' },
  'wallet:read': { read: 'reads', write: 'writes' },
  'wallet:write': { read: 'reads', write: 'writes' },
  'cards:charge': { read: 'reads', write: 'writes' },
  // A change of spend limits is a command in the one queue of money, and new keys fill the caches of all processes.
  'keys:write': { read: 'reads', write: 'key_changes' },
  // An outside gateway charges thousands of images a second through these routes. Counting each of them would cost as much as
  // the engine's own work on it; the bounded queue of the engine (`engine_saturated`) limits them.
  debits: null,
  finance: { read: 'operator_requests', write: 'operator_requests' },
  admin: { read: 'operator_requests', write: 'operator_requests' },
};

/** Returns the limit of a route with this access, unless its handler names another; null means none. */
export function getDefaultLimit(access: RouteAccess<Scope>, method: string): RateLimitName | null {
  if (access.public) return null;
  const limits = LIMITS_OF_SCOPES[access.scope];
  if (limits === null) return null;
  return method === 'GET' || method === 'HEAD' ? limits.read : limits.write;
}

/**
 * Returns whether requests are limited by network address: those to public routes and pages, those that match no route, and
 * those without a key where one is needed. An invalid key is counted where it is refused.
 */
export function isCountedByAddress(config: unknown, hasCredentials: boolean): boolean {
  const access = getRouteAccess<Scope>(config);
  if (access === undefined) return true;
  return access.public ? access.uncounted === undefined : !hasCredentials;
}
