import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { AccountPrincipal, OperatorPrincipal, Origin, Principal } from './principal.js';
import { withMembers } from '../../platform/common/with-members.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sent the request. Set by the authentication guard; absent on public routes. */
    principal?: Principal;
  }
}

/** `@CurrentAccount() principal: AccountPrincipal` on a route that requires an account scope. */
export const CurrentAccount = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => principalOf(context, 'account_key') as AccountPrincipal,
);

/** `@CurrentOperator() principal: OperatorPrincipal` on a route that requires an operator scope. */
export const CurrentOperator = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => principalOf(context, 'operator_key') as OperatorPrincipal,
);

/** Asked for by what is recorded only. A class: an object with a getter of its own, made for every request, costs as much as the guard. */
class RequestOrigin implements Origin {
  constructor(private readonly request: FastifyRequest) {}

  get requestId(): string {
    return this.request.id;
  }

  /** Costs a look at the socket and its proxies. */
  get clientAddress(): string {
    return this.request.ip;
  }
}

/** The key with the request that it sent: one key sends many. */
export function withOrigin<P extends Principal>(principal: P, request: FastifyRequest): P {
  return withMembers(principal, { origin: new RequestOrigin(request) });
}

/** Throws when the route's scope and its parameter disagree: a fault of ours, found by its first call. */
function principalOf(context: ExecutionContext, kind: Principal['kind']): Principal {
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  const { principal } = request;
  if (principal?.kind !== kind) {
    throw new Error(
      `${context.getClass().name}.${context.getHandler().name} asks for ${kind} but requires no such scope`,
    );
  }
  return withOrigin(principal, request);
}
