import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import type { SealedSecret } from './encryption/envelope.service.js';

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

/** The providers that accept a customer's own key. Paths, rows and receipts contain these names, so they never change. */
export const KEYED_PROVIDERS = ['black_forest_labs'] as const;

export type KeyedProvider = (typeof KEYED_PROVIDERS)[number];

export const PROVIDER_TITLES: Readonly<Record<KeyedProvider, string>> = {
  black_forest_labs: 'Black Forest Labs',
};

export function isKeyedProvider(text: string): text is KeyedProvider {
  return (KEYED_PROVIDERS as readonly string[]).includes(text);
}

/** Throws `ResourceMissingError` (404) for a provider that does not accept customers' keys. */
export function requireProvider(provider: string): KeyedProvider {
  if (!isKeyedProvider(provider)) throw new ResourceMissingError('provider', provider, 'provider');
  return provider;
}
