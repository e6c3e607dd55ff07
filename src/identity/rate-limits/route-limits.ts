import { accessOfRoute, type RouteAccess } from '../../platform/http/route-access.js';
import type { Scope } from '../auth/principal.js';
import type { RateLimitName } from './rate-limit-policies.js';

/** What the requests of a route are counted against. */
export type RouteLimits = {
  readonly counted: RateLimitName;
  /** Counted later, when the request is understood; every answer of the route tells how much is left. */
  readonly shown: readonly RateLimitName[];
};

type ScopeLimits = { readonly read: RateLimitName; readonly write: RateLimitName };

/**
 * Every route with a key has a limit: this one, by the scope that it requires, unless `@RateLimited` names another. A scope
 * without an entry does not compile, so no route is forgotten. Null: its routes are counted against nothing.
 */
export const LIMITS_OF_SCOPES: Readonly<Record<Scope, ScopeLimits | null>> = {
  generate: { read: 'reads', write: 'writes' },
  'wallet:read': { read: 'reads', write: 'writes' },
  'wallet:write': { read: 'reads', write: 'writes' },
  'cards:charge': { read: 'reads', write: 'writes' },
  // What a key may spend is a command in the one queue of money, and making keys fills the caches of all processes.
  'keys:write': { read: 'reads', write: 'key_changes' },
  // An outside gateway charges thousands of images a second through these routes. Counting each of them would cost as much as
  // the engine's own work on it; the bounded queue of the engine (`engine_saturated`) is their limit.
  debits: null,
  finance: { read: 'operator_requests', write: 'operator_requests' },
  admin: { read: 'operator_requests', write: 'operator_requests' },
};

/** What a request to a route of this access is counted against unless its handler says otherwise; null: nothing. */
export function defaultLimitOf(access: RouteAccess<Scope>, method: string): RateLimitName | null {
  if (access.public) return null;
  const limits = LIMITS_OF_SCOPES[access.scope];
  if (limits === null) return null;
  return method === 'GET' || method === 'HEAD' ? limits.read : limits.write;
}

/**
 * Whether requests are limited by network address: those to public routes and pages, those that match no route, and those
 * that bring no key where one is needed. A key that is no good is counted where it is refused.
 */
export function isCountedByAddress(config: unknown, hasCredentials: boolean): boolean {
  const access = accessOfRoute<Scope>(config);
  if (access === undefined) return true;
  return access.public ? access.uncounted === undefined : !hasCredentials;
}
