export const ACCOUNT_SCOPES = [
  'generate',
  'wallet:read',
  'wallet:write',
  'keys:write',
  'cards:charge',
] as const;
export const OPERATOR_SCOPES = ['debits', 'finance', 'admin'] as const;

/** What a key has that nobody chose scopes for. Charging a saved card is never among it: that is always asked for by name. */
export const DEFAULT_ACCOUNT_SCOPES = ['generate', 'wallet:read', 'wallet:write', 'keys:write'] as const;

export type AccountScope = (typeof ACCOUNT_SCOPES)[number];
export type OperatorScope = (typeof OPERATOR_SCOPES)[number];
/** No word stands in both lists, so a scope alone says which kind of key a route wants. */
export type Scope = AccountScope | OperatorScope;

/** The request that a key sent. */
export type Origin = {
  readonly requestId: string;
  readonly clientAddress: string;
};

/** A customer's machine: acts on its own account only. */
export type AccountPrincipal = {
  readonly kind: 'account_key';
  readonly keyId: string;
  readonly accountId: string;
  readonly scopes: ReadonlySet<AccountScope>;
  /** For how long the same images request of a client that announces no retries is one call; 0: each is its own. */
  readonly duplicateWindowSeconds: number;
  /** Of the principal that a route is given. */
  readonly origin?: Origin;
};

/** Our own machine: acts on any account, within its scopes. */
export type OperatorPrincipal = {
  readonly kind: 'operator_key';
  readonly keyId: string;
  readonly scopes: ReadonlySet<OperatorScope>;
  readonly origin?: Origin;
};

export type Principal = AccountPrincipal | OperatorPrincipal;

/** How the ledger names who did it. */
export function actorOf(principal: Principal): string {
  return `${principal.kind}:${principal.keyId}`;
}

export function kindOfScope(scope: Scope): Principal['kind'] {
  return (ACCOUNT_SCOPES as readonly string[]).includes(scope) ? 'account_key' : 'operator_key';
}

export function hasScope(principal: Principal, scope: Scope): boolean {
  return (principal.scopes as ReadonlySet<string>).has(scope);
}
