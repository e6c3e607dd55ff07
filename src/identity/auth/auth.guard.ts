import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { InsufficientScopeError, MissingApiKeyError } from './auth.errors.js';
import { Authenticator } from './authenticator.js';
import { hasScope, type Principal, type Scope } from './principal.js';
import { RouteAccessTable } from '../../platform/http/route-access.js';

/**
 * A revoked key is refused within a second. A body may take longer than that to arrive, so a decision that was made before
 * the body is repeated after it when it is older than this.
 */
export const DECISION_GOOD_FOR_MS = 100;

/**
 * Runs before every route, and decides at most twice: when the headers of a request are read, so that no body is read without
 * a valid key (`early-authentication.ts`), and before its handler. It answers synchronously for a key in use, and refuses a
 * route that declares no access.
 */
@Injectable()
export class AuthGuard implements CanActivate {
  private readonly routes = new RouteAccessTable<Scope>();

  constructor(private readonly authenticator: Authenticator) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const access = this.routes.get(context.getClass(), context.getHandler());
    if (access.public) return true;
    const request = context.getArgByIndex<FastifyRequest>(0);
    const { principal } = request;
    if (principal === undefined) return this.decide(request, access.scope);
    const isFresh = context.getArgByIndex<FastifyReply>(1).elapsedTime < DECISION_GOOD_FOR_MS;
    return isFresh ? admit(request, principal, access.scope) : this.decide(request, access.scope);
  }

  /** Throws, or rejects with, one of `auth.errors.ts`, and the errors of the authenticator. */
  decide(request: FastifyRequest, scope: Scope): true | Promise<true> {
    const token = bearerToken(request.headers.authorization);
    const principal = this.authenticator.authenticate(token, request);
    return principal instanceof Promise
      ? principal.then((settled) => admit(request, settled, scope))
      : admit(request, principal, scope);
  }
}

const BEARER = 'Bearer ';
const BEARER_ANY_CASE = /^bearer +(\S.*)$/i;

/** Throws `MissingApiKeyError` for any other scheme, because the client then sends no API key. */
function bearerToken(header: string | undefined): string {
  if (header === undefined) throw new MissingApiKeyError();
  if (header.startsWith(BEARER)) return header.slice(BEARER.length).trim();
  const token = BEARER_ANY_CASE.exec(header)?.[1];
  if (token === undefined) throw new MissingApiKeyError();
  return token;
}

function admit(request: FastifyRequest, principal: Principal, scope: Scope): true {
  // It is set before the scope is checked, so that the log line of a refusal names the key as well.
  request.principal = principal;
  if (!hasScope(principal, scope)) throw new InsufficientScopeError(scope);
  return true;
}
