import { Injectable } from '@nestjs/common';
import { PriceBookService } from '../../../../money/pricing/price-book.service.js';
import type { SealedProviderKey } from '../../../provider-keys/provider-key.js';
import { ProviderKeyVaultService } from '../../../provider-keys/provider-key-vault.service.js';
import type { Caller } from '../caller.js';
import type { ImageRequest, ProviderRoute } from '../image-request.js';
import { Upstreams } from '../../providers/configured-providers.js';
import { chargeNothing, type Charge, type ChosenFunding, type Funding } from './funding.js';

/** The provider key that a call uses, and the route to the provider that the key belongs to. */
export type OwnKey = { readonly key: SealedProviderKey; readonly route: ProviderRoute };

/**
 * Funds calls by the customer's own key at the provider (BYOK): no hold, no debit, no fee. Nothing that this class is given, and no
 * module that this file imports, directly or not, may reach a wallet; `test/integration/byok.spec.ts` follows both and proves it.
 */
@Injectable()
export class ProviderKeyFundingService implements Funding {
  constructor(
    private readonly vault: ProviderKeyVaultService,
    private readonly prices: PriceBookService,
    private readonly upstreams: Upstreams,
  ) {}

  /**
   * Returns null when this process knows of no key that the account has for a provider of this model. Its knowledge may be a few
   * seconds old, so the commit that charges the wallet checks again. Throws `DatabaseUnavailableError` when the keys cannot be read.
   */
  async find(
    { model }: Pick<ImageRequest, 'model'>,
    { principal }: Pick<Caller, 'principal'>,
  ): Promise<OwnKey | null> {
    if (model.keyedRoutes.length === 0) return null;
    const keys = await this.vault.findLive(principal.accountId);
    for (const route of model.keyedRoutes) {
      const key = keys.find(({ provider }) => provider === route.provider);
      if (key !== undefined) return { key, route };
    }
    return null;
  }

  /** Discards the cached keys of the account, so that the next `find` reads a key that another process has attached. */
  forget({ principal }: Pick<Caller, 'principal'>): void {
    this.vault.forget(principal);
  }

  /** Throws `DatabaseUnavailableError`, and `ProviderKeyUnreadableError` when the key cannot be decrypted. */
  async choose({ model }: Pick<ImageRequest, 'model'>, { key, route }: OwnKey): Promise<ChosenFunding> {
    const price = await this.prices.requirePrice(model.id);
    return {
      mode: 'byok',
      funding: this,
      price,
      // There is only this route: over our own account the same image would have to be charged to the wallet.
      upstream: { routes: [route], source: await this.upstreams.withKey(key) },
      providerKey: key,
      unlessOwnKeyAt: [],
      fellBackFrom: null,
    };
  }

  authorize(): Promise<void> {
    return Promise.resolve();
  }

  capture(_generation: unknown, images: number): Promise<Charge> {
    return Promise.resolve(chargeNothing(images));
  }
}
