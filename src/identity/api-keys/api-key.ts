import type { KeyBudget, SpendLimits } from './key-budget.js';
import type { AccountScope, Scope } from '../auth/principal.js';

export type ApiKeyStatus = 'active' | 'expired' | 'revoked';

/** What may be shown of an API key. The account id is null for an operator key. */
export type ApiKey = {
  readonly id: string;
  readonly accountId: string | null;
  readonly name: string;
  /** Its prefix and its last four characters. */
  readonly hint: string;
  readonly scopes: readonly Scope[];
  readonly status: ApiKeyStatus;
  readonly createdAt: Date;
  /** What made it, as the ledger names actors; null: before this was recorded. */
  readonly createdBy: string | null;
  /** To a minute or two; null: never since this is recorded. */
  readonly lastUsedAt: Date | null;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  /** What it may spend, and has used; null: it has no limit of its own. */
  readonly budget: KeyBudget | null;
  /** How long after an answer the same request of a client that announces no retries gets it again; 0: not at all. */
  readonly duplicateWindowSeconds: number;
};

/** What may be changed of a key of an account; undefined changes nothing. */
export type KeyChanges = {
  readonly spendLimits?: Partial<SpendLimits> | undefined;
  readonly duplicateWindowSeconds?: number | undefined;
};

/** A key that was just made. The secret exists here and with whoever asked for it, nowhere else. */
export type IssuedApiKey = ApiKey & { readonly secret: string };

export type NewApiKey = {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Null never expires. */
  readonly expiresAt: Date | null;
};

export type NewAccountKey = NewApiKey & {
  readonly scopes: readonly AccountScope[];
  /** None when it is left out. */
  readonly spendLimits?: Partial<SpendLimits> | undefined;
  /** 0 when it is left out. */
  readonly duplicateWindowSeconds?: number | undefined;
};

export function statusOf(
  { expiresAt, revokedAt }: Pick<ApiKey, 'expiresAt' | 'revokedAt'>,
  nowMs: number,
): ApiKeyStatus {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && expiresAt.getTime() <= nowMs ? 'expired' : 'active';
}
