import type { SealedSecret } from './encryption/envelope.service.js';
import type { KeyedProvider } from './keyed-provider.js';

export type RemovedReason = 'deleted' | 'replaced';

/** What may be shown of a customer's provider key, which never includes the key itself. */
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
  /** Null when the key is erased and can no longer be read. */
  readonly masterKeyId: string | null;
};

/** A key as a call needs it: encrypted, with everything that is needed to decrypt it. */
export type SealedProviderKey = Pick<ProviderKey, 'accountId' | 'id' | 'provider' | 'fallBackToWallet'> & {
  readonly sealed: SealedSecret;
};

/** Returns what the ciphertext is bound to. It cannot be decrypted in another row, account or provider. */
export function toBinding({
  accountId,
  provider,
  id,
}: Pick<ProviderKey, 'accountId' | 'provider' | 'id'>): string {
  return `provider_keys/${accountId}/${provider}/${id}`;
}
