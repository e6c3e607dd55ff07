import type { FastifyInstance, FastifyRequest } from 'fastify';
import { kindOfScope, type Scope } from '../auth/principal.js';
import { accessOfRoute } from '../../platform/http/route-access.js';
import { addressGroup } from '../../platform/common/address-group.js';
import { onAnswerEnd } from '../../platform/http/answer-end.js';
import { BODY_LIMIT_BYTES } from '../../platform/http/json-body.js';
import { BodiesBusyError } from './rate-limit.errors.js';

/** A body of this size weighs no more than the connection that it comes on, and those are bounded in number. */
const LIGHT_BYTES = 16_384;
/** Of the bodies of one account that are under way in a process: sixteen of the largest. */
export const BODY_BYTES_PER_ACCOUNT_MAX = 16 * BODY_LIMIT_BYTES;
/** Of those that come without a key, such as events that claim to be Stripe's: as much as one account has, and a quarter of it an address. */
export const BODY_BYTES_OF_STRANGERS_MAX = 16 * BODY_LIMIT_BYTES;
export const BODY_BYTES_PER_ADDRESS_MAX = 4 * BODY_LIMIT_BYTES;

/** Whose bodies are counted together, and how much they may weigh. */
type Share = { readonly name: string; readonly bytesMax: number };

/**
 * Counts what the heavier bodies under way may weigh, of each account and of all who need no key: each is held until it is whole, however
 * slowly it comes. Call it after `authenticateBeforeBodies`, whose principal it asks for, and before the routes are registered.
 *
 * @param unreadUrl a route that counts its own bodies.
 */
export function limitBodies(fastify: FastifyInstance, unreadUrl: string): void {
  const held = new Map<string, number>();
  fastify.addHook('onRoute', (route) => {
    const access = accessOfRoute<Scope>(route.config);
    if (access === undefined || route.url === unreadUrl) return;
    // An operator's keys are ours, and the gateway's debits are the calls for which a hook would cost most.
    if (!access.public && kindOfScope(access.scope) !== 'account_key') return;
    route.onRequest = [
      ...[route.onRequest ?? []].flat(),
      (request, { raw }, done) => {
        const bytes = bytesOf(request);
        if (bytes <= LIGHT_BYTES) return done();
        const shares = sharesOf(request);
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

/** By what they come from: an address is no account's id. */
function sharesOf({ principal, ip }: FastifyRequest): readonly Share[] {
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

/** What the client announces; as much as it may send when it does not. */
function bytesOf({ raw: { headers } }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return BODY_LIMIT_BYTES;
  // What is announced to be larger is refused before any of it is read.
  return Math.min(Number(headers['content-length'] ?? 0), BODY_LIMIT_BYTES);
}
