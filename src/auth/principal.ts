export const ACCOUNT_SCOPES = ['generate', 'wallet:read', 'wallet:write', 'keys:write'] as const;
export const OPERATOR_SCOPES = ['debits', 'finance', 'admin'] as const;

export type AccountScope = (typeof ACCOUNT_SCOPES)[number];
export type OperatorScope = (typeof OPERATOR_SCOPES)[number];

/** A customer's machine: acts on its own account only. */
export type AccountPrincipal = {
  readonly kind: 'account_key';
  readonly keyId: string;
  readonly accountId: string;
  readonly scopes: ReadonlySet<AccountScope>;
};

/** Our own machine: acts on any account, within its scopes. */
export type OperatorPrincipal = {
  readonly kind: 'operator_key';
  readonly keyId: string;
  readonly scopes: ReadonlySet<OperatorScope>;
};

export type Principal = AccountPrincipal | OperatorPrincipal;

/** How the ledger names who did it. */
export function actorOf(principal: Principal): string {
  return `${principal.kind}:${principal.keyId}`;
}
