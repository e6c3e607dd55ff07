import type { SealedSecret } from './encryption/envelope.service.js';
import type { KeyedProvider } from './keyed-provider.js';

export type RemovedReason = 'deleted' | 'replaced';

/** A customer's key for a provider, as it may be shown: never the key itself. */
export type ProviderKey = {
  readonly accountId: string;
  readonly id: string;
  readonly provider: KeyedProvider;
  readonly lastFour: string;
  readonly fallBackToWallet: boolean;
  readonly createdAt: Date;
  readonly attachedBy: string;
  readonly removedAt: Date | null;
  readonly removedBy: string | null;
  readonly removedReason: RemovedReason | null;
  /** Null: it is erased, nobody can read it any more. */
  readonly masterKeyId: string | null;
};

/** What a call needs of a key: still encrypted, and enough to open it. */
export type SealedProviderKey = Pick<ProviderKey, 'accountId' | 'id' | 'provider' | 'fallBackToWallet'> & {
  readonly sealed: SealedSecret;
};

/** To what its ciphertext is bound: in any other row, account or provider it does not open. */
export function rowOf({
  accountId,
  provider,
  id,
}: Pick<ProviderKey, 'accountId' | 'provider' | 'id'>): string {
  return `provider_keys/${accountId}/${provider}/${id}`;
}
