import type { FastifyInstance, FastifyRequest } from 'fastify';
import { kindOfScope } from '../auth/principal.js';
import { accessOfRoute } from '../auth/route-access.js';
import { onAnswerEnd } from '../http/answer-end.js';
import { BODY_LIMIT_BYTES } from '../http/json-body.js';
import { BodiesBusyError } from './rate-limit.errors.js';

/** A body of this size weighs no more than the connection that it comes on, and those are bounded in number. */
const LIGHT_BYTES = 16_384;
/** Of the bodies of one account that are under way in a process: sixteen of the largest. */
export const BODY_BYTES_PER_ACCOUNT_MAX = 16 * BODY_LIMIT_BYTES;

/**
 * Counts what the heavier bodies of an account under way may weigh: each is held until it is whole, however slowly it comes.
 * Call it after `authenticateBeforeBodies`, whose principal it asks for, and before the routes are registered.
 *
 * @param unreadUrl a route that counts its own bodies.
 */
export function limitBodies(fastify: FastifyInstance, unreadUrl: string): void {
  const ofAccounts = new Map<string, number>();
  fastify.addHook('onRoute', (route) => {
    const access = accessOfRoute(route.config);
    if (access === undefined || access.public || route.url === unreadUrl) return;
    // An operator's keys are ours, and the gateway's debits are the calls for which a hook would cost most.
    if (kindOfScope(access.scope) !== 'account_key') return;
    route.onRequest = [
      ...[route.onRequest ?? []].flat(),
      (request, { raw }, done) => {
        const bytes = bytesOf(request);
        const { principal } = request;
        if (bytes <= LIGHT_BYTES || principal?.kind !== 'account_key') return done();
        const { accountId } = principal;
        const held = ofAccounts.get(accountId) ?? 0;
        if (held + bytes > BODY_BYTES_PER_ACCOUNT_MAX) return done(new BodiesBusyError());
        ofAccounts.set(accountId, held + bytes);
        onAnswerEnd(raw, () => {
          const left = (ofAccounts.get(accountId) ?? 0) - bytes;
          if (left > 0) ofAccounts.set(accountId, left);
          else ofAccounts.delete(accountId);
        });
        done();
      },
    ];
  });
}

/** What the client announces; as much as it may send when it does not. */
function bytesOf({ raw: { headers } }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return BODY_LIMIT_BYTES;
  // What is announced to be larger is refused before any of it is read.
  return Math.min(Number(headers['content-length'] ?? 0), BODY_LIMIT_BYTES);
}
