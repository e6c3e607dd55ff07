import type { Scope } from './principal.js';
import type { FastifyInstance, onRequestHookHandler } from 'fastify';
import type { AuthGuard } from './auth.guard.js';
import { getRouteAccess, type RouteAccess } from '../../platform/http/route-access.js';

/**
 * Runs the guard as soon as the headers of a request are read. Nest runs guards after Fastify has read and parsed the body:
 * clients without a key could otherwise make the service hold a megabyte for each connection, and spend the time to parse it.
 *
 * Call it before the routes are registered. The controller declares what a route requires; for a route that this hook
 * does not know, the guard decides alone, as it does in any case before the handler.
 */
export function authenticateBeforeBodies(fastify: FastifyInstance, guard: AuthGuard): void {
  fastify.addHook('onRoute', (route) => {
    const access = getRouteAccess<Scope>(route.config);
    if (access === undefined || access.public) return;
    route.onRequest = [...[route.onRequest ?? []].flat(), decideWith(guard, access)];
  });
}

function decideWith(
  guard: AuthGuard,
  { scope }: RouteAccess<Scope> & { readonly public: false },
): onRequestHookHandler {
  return (request, _reply, done) => {
    try {
      const decision = guard.decide(request, scope);
      if (decision instanceof Promise) decision.then(() => done(), done);
      else done();
    } catch (error) {
      done(error as Error);
    }
  };
}
