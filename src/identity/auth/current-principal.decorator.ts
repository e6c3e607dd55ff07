import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { AccountPrincipal, OperatorPrincipal, Origin, Principal } from './principal.js';
import { withMembers } from '../../platform/common/with-members.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The sender of the request. The authentication guard sets it; it is absent on public routes. */
    principal?: Principal;
  }
}

/** `@CurrentAccount() principal: AccountPrincipal` on a route that requires an account scope. */
export const CurrentAccount = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => requirePrincipal(context, 'account_key') as AccountPrincipal,
);

/** `@CurrentOperator() principal: OperatorPrincipal` on a route that requires an operator scope. */
export const CurrentOperator = createParamDecorator(
  (_data: unknown, context: ExecutionContext) =>
    requirePrincipal(context, 'operator_key') as OperatorPrincipal,
);

/** Only recorded acts need it. It is a class, because an object with a getter, made for every request, costs as much as the guard. */
class RequestOrigin implements Origin {
  constructor(private readonly request: FastifyRequest) {}

  get requestId(): string {
    return this.request.id;
  }

  /** Reading it costs a system call and a comparison with the trusted proxies. */
  get clientAddress(): string {
    return this.request.ip;
  }
}

/** Adds the request that the key sent, because one key sends many. */
export function withOrigin<P extends Principal>(principal: P, request: FastifyRequest): P {
  return withMembers(principal, { origin: new RequestOrigin(request) });
}

/** Throws when the route's scope and its parameter disagree; the first call of a faulty route shows this. */
function requirePrincipal(context: ExecutionContext, kind: Principal['kind']): Principal {
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  const { principal } = request;
  if (principal?.kind !== kind) {
    throw new Error(
      `${context.getClass().name}.${context.getHandler().name} asks for ${kind} but requires no such scope`,
    );
  }
  return withOrigin(principal, request);
}
