import { ResourceMissingError } from '../../platform/errors/common.errors.js';

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
