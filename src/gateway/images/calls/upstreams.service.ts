import { Inject, Injectable } from '@nestjs/common';
import { ProviderKeyUnreadableError } from '../../provider-keys/provider-key.errors.js';
import type { SealedProviderKey } from '../../provider-keys/provider-key.js';
import { ProviderKeyVault } from '../../provider-keys/provider-key-vault.service.js';
import type { ProviderSource } from './image-maker.service.js';
import {
  IMAGE_PROVIDERS,
  type ImageProviders,
  type KeyedImageProvider,
  type ProviderName,
} from '../providers/image-provider.js';
import { ProviderFailure } from '../providers/provider-failure.js';
import type { Generation } from './records/generation.js';

/** Finds the provider for a call, with our account or the customer's. It does not know wallets. */
@Injectable()
export class Upstreams {
  constructor(
    @Inject(IMAGE_PROVIDERS) private readonly providers: ImageProviders,
    private readonly vault: ProviderKeyVault,
  ) {}

  /** Cached because a model may name a provider at which we have no account; every call of that model skips it. */
  private readonly missing = new Map<ProviderName, ProviderFailure>();

  /** Providers with our own account. */
  readonly ours: ProviderSource = (name) => this.providers.get(name) ?? refuse(this.missingAt(name));

  /** Returns providers with the customer's account. Rejects with `ProviderKeyUnreadableError` (503). */
  async withKey(key: SealedProviderKey): Promise<(name: ProviderName) => KeyedImageProvider> {
    const secret = await this.vault.open(key);
    return (name) => this.providers.over(name, { id: key.id, secret }) ?? refuse(notConfigured(name));
  }

  /**
   * Returns providers for a call that was started earlier, with the same key, even if that key was removed since. A key that cannot
   * be read now may be readable again before recovery gives up, so the call counts as lost. Throws what the database throws.
   */
  async forStartedCall({ accountId, providerKeyId }: Generation): Promise<ProviderSource> {
    if (providerKeyId === null) return this.ours;
    const key = await this.vault.findForRunningCall(accountId, providerKeyId);
    if (key === null) return () => refuse(new ProviderFailure('failed', 'the provider key is erased'));
    try {
      return await this.withKey(key);
    } catch (error) {
      if (!(error instanceof ProviderKeyUnreadableError)) throw error;
      return () => refuse(new ProviderFailure('lost', 'the provider key cannot be read', { cause: error }));
    }
  }

  private missingAt(name: ProviderName): ProviderFailure {
    const failure = this.missing.get(name) ?? notConfigured(name);
    this.missing.set(name, failure);
    return failure;
  }
}

function notConfigured(name: string): ProviderFailure {
  return new ProviderFailure('account', `${name} is not configured`);
}

function refuse(failure: ProviderFailure): never {
  throw failure;
}
