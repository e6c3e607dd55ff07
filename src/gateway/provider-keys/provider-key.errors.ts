import { MasterKeyMissingError } from '../../platform/common/sealed-box.js';
import { Problem } from '../../platform/errors/problem.js';
import { PROVIDER_TITLES, type KeyedProvider } from './provider-key.js';

/** This is our fault, so the wallet is never charged instead. */
export class ProviderKeyUnreadableError extends Problem {
  readonly code = 'provider_key_unreadable';
  constructor(provider: KeyedProvider, cause: unknown) {
    const missing = cause instanceof MasterKeyMissingError ? cause.keyId : null;
    const why =
      missing === null ? 'what is stored was damaged' : `this service lacks its master key '${missing}'`;
    super(
      `Your own provider key for ${PROVIDER_TITLES[provider]} cannot be read: ${why}. Nothing was charged, and the ` +
        `wallet was not used. Attach the key again with PUT /v1/provider_keys/${provider}, or delete it to pay by wallet.`,
      { shouldRetry: false, details: missing === null ? {} : { missing_master_key: missing }, cause },
    );
  }
}
