import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

export const ACCOUNT_SCOPES = [
  'generate',
  'wallet:read',
  'wallet:write',
  'keys:write',
  'cards:charge',
] as const;
export const OPERATOR_SCOPES = ['debits', 'finance', 'admin'] as const;

/** The scopes of a key for which none were chosen. Charging a saved card is never among them: it always has to be named explicitly. */
export const DEFAULT_ACCOUNT_SCOPES = ['generate', 'wallet:read', 'wallet:write', 'keys:write'] as const;

export type AccountScope = (typeof ACCOUNT_SCOPES)[number];
export type OperatorScope = (typeof OPERATOR_SCOPES)[number];
/** No word is in both lists, so a scope alone determines which kind of key a route requires. */
export type Scope = AccountScope | OperatorScope;

/** The request that a key sent. */
export type Origin = {
  readonly requestId: string;
  readonly clientAddress: string;
};

/** A customer's program, which acts on its own account only. */
export type AccountPrincipal = {
  readonly kind: 'account_key';
  readonly keyId: string;
  readonly accountId: string;
  readonly scopes: ReadonlySet<AccountScope>;
  /** For how long the same images request of a client that does not announce retries is one call; 0: each is its own. */
  readonly duplicateWindowSeconds: number;
  /** It is set on the principal that a route receives. */
  readonly origin?: Origin;
};

/** A program of the platform, which acts on any account, within its scopes. */
export type OperatorPrincipal = {
  readonly kind: 'operator_key';
  readonly keyId: string;
  readonly scopes: ReadonlySet<OperatorScope>;
  readonly origin?: Origin;
};

export type Principal = AccountPrincipal | OperatorPrincipal;

/** Returns the actor in the ledger's notation. */
export function toActor(principal: Principal): string {
  return `${principal.kind}:${principal.keyId}`;
}

export function getScopeKind(scope: Scope): Principal['kind'] {
  return (ACCOUNT_SCOPES as readonly string[]).includes(scope) ? 'account_key' : 'operator_key';
}

export function hasScope(principal: Principal, scope: Scope): boolean {
  return (principal.scopes as ReadonlySet<string>).has(scope);
}

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

/** Adds the request that the key sent, because one key sends many. For a literal with a spread, Node 20 needs ten times as long. */
export function withOrigin<P extends Principal>(principal: P, request: FastifyRequest): P {
  return Object.assign({}, principal, { origin: new RequestOrigin(request) });
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
