import type { FastifyInstance, FastifyRequest } from 'fastify';
import { getScopeKind, type Scope } from '../auth/principal.js';
import { getRouteAccess } from '../../platform/http/route-access.js';
import { addressGroup } from '../../platform/common/address-group.js';
import { onAnswerEnd } from '../../platform/http/connection-answers.js';
import { BODY_LIMIT_BYTES } from '../../platform/http/request-bodies.js';
import { BodiesBusyError } from './rate-limit.errors.js';

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
