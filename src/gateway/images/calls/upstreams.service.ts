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

/** Finds who makes the images of a call, and over whose account there. It knows nothing of wallets. */
@Injectable()
export class Upstreams {
  constructor(
    @Inject(IMAGE_PROVIDERS) private readonly providers: ImageProviders,
    private readonly vault: ProviderKeyVault,
  ) {}

  /** Made once: a model may name a provider that we have no account at, and every call for it passes that one over. */
  private readonly missing = new Map<ProviderName, ProviderFailure>();

  /** Over our own account. */
  readonly ours: ProviderSource = (name) => this.providers.get(name) ?? refuse(this.missingAt(name));

  /** Over the customer's account. Rejects with `ProviderKeyUnreadableError` (503). */
  async over(key: SealedProviderKey): Promise<(name: ProviderName) => KeyedImageProvider> {
    const secret = await this.vault.open(key);
    return (name) => this.providers.over(name, { id: key.id, secret }) ?? refuse(notConfigured(name));
  }

  /**
   * For a call that was begun earlier: over the very key that it was begun with, even if that was removed since.
   * A key that cannot be read now may be readable again before the call is given up. Throws what the database throws.
   */
  async ofBegun({ accountId, providerKeyId }: Generation): Promise<ProviderSource> {
    if (providerKeyId === null) return this.ours;
    const key = await this.vault.findForRunningCall(accountId, providerKeyId);
    if (key === null) return () => refuse(new ProviderFailure('failed', 'the provider key is erased'));
    try {
      return await this.over(key);
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
