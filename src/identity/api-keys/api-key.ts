import type { KeyBudget, SpendLimits } from './key-budget.js';
import type { AccountScope, Scope } from '../auth/principal.js';

export type ApiKeyStatus = 'active' | 'expired' | 'revoked';

/** The part of an API key that may be shown. The account id is null for an operator key. */
export type ApiKey = {
  readonly id: string;
  readonly accountId: string | null;
  readonly name: string;
  /** Its prefix and its last four characters. */
  readonly hint: string;
  readonly scopes: readonly Scope[];
  readonly status: ApiKeyStatus;
  readonly createdAt: Date;
  /** What made it, in the ledger's notation of actors; null if it was made before this was recorded. */
  readonly createdBy: string | null;
  /** Exact to a minute or two; null when the key has not been used since this is recorded. */
  readonly lastUsedAt: Date | null;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  /** What it may spend, and has used; null when it has no limit of its own. */
  readonly budget: KeyBudget | null;
  /** For how long a repeated request of a client that does not announce retries gets the same answer; 0: not at all. */
  readonly duplicateWindowSeconds: number;
};

/** What may be changed on a key of an account; undefined changes nothing. */
export type KeyChanges = {
  readonly spendLimits?: Partial<SpendLimits> | undefined;
  readonly duplicateWindowSeconds?: number | undefined;
};

/** A key that was just made. Its secret is returned once, to the caller who asked for it, and is not stored. */
export type IssuedApiKey = ApiKey & { readonly secret: string };

export type NewApiKey = {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Null means that it never expires. */
  readonly expiresAt: Date | null;
};

export type NewAccountKey = NewApiKey & {
  readonly scopes: readonly AccountScope[];
  /** When absent, there are no limits. */
  readonly spendLimits?: Partial<SpendLimits> | undefined;
  /** When absent, it is 0. */
  readonly duplicateWindowSeconds?: number | undefined;
};

export function getKeyStatus(
  { expiresAt, revokedAt }: Pick<ApiKey, 'expiresAt' | 'revokedAt'>,
  nowMs: number,
): ApiKeyStatus {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && expiresAt.getTime() <= nowMs ? 'expired' : 'active';
}
