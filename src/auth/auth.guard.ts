import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { InsufficientScopeError, MissingApiKeyError } from './auth.errors.js';
import { Authenticator } from './authenticator.js';
import { hasScope, type Principal, type Scope } from './principal.js';
import { RouteAccessTable } from './route-access.js';

/**
 * Stands before every route. It answers synchronously for a key in use, and refuses a route that declares no
 * access.
 */
@Injectable()
export class AuthGuard implements CanActivate {
  private readonly routes = new RouteAccessTable();

  constructor(private readonly authenticator: Authenticator) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const access = this.routes.of(context.getClass(), context.getHandler());
    if (access.public) return true;
    const request = context.getArgByIndex<FastifyRequest>(0);
    const token = bearerToken(request.headers.authorization);
    const principal = this.authenticator.authenticate(token, request);
    return principal instanceof Promise
      ? principal.then((settled) => admit(request, settled, access.scope))
      : admit(request, principal, access.scope);
  }
}

const BEARER = 'Bearer ';
const BEARER_ANY_CASE = /^bearer +(\S.*)$/i;

/** Throws `MissingApiKeyError` for any other scheme: whoever sends one does not speak to us with a key. */
function bearerToken(header: string | undefined): string {
  if (header === undefined) throw new MissingApiKeyError();
  if (header.startsWith(BEARER)) return header.slice(BEARER.length).trim();
  const token = BEARER_ANY_CASE.exec(header)?.[1];
  if (token === undefined) throw new MissingApiKeyError();
  return token;
}

function admit(request: FastifyRequest, principal: Principal, scope: Scope): true {
  // Set before the scope is checked: the log line of a refusal names the key as well.
  request.principal = principal;
  if (!hasScope(principal, scope)) throw new InsufficientScopeError(scope);
  return true;
}
