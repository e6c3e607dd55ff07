import { ResourceMissingError } from '../../platform/errors/common.errors.js';

/** The providers that take a customer's own key. The words stand in paths, rows and receipts, for ever. */
export const KEYED_PROVIDERS = ['black_forest_labs'] as const;

export type KeyedProvider = (typeof KEYED_PROVIDERS)[number];

export const PROVIDER_TITLES: Readonly<Record<KeyedProvider, string>> = {
  black_forest_labs: 'Black Forest Labs',
};

export function isKeyedProvider(text: string): text is KeyedProvider {
  return (KEYED_PROVIDERS as readonly string[]).includes(text);
}

/** Throws `ResourceMissingError` (404) for a provider that takes no customer's key. */
export function requireProvider(provider: string): KeyedProvider {
  if (!isKeyedProvider(provider)) throw new ResourceMissingError('provider', provider, 'provider');
  return provider;
}
