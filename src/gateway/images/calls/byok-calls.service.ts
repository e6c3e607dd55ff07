import { Injectable } from '@nestjs/common';
import { isKeyedProvider } from '../../provider-keys/keyed-provider.js';
import { ProviderKeyVault } from '../../provider-keys/provider-key-vault.service.js';
import type { SealedProviderKey } from '../../provider-keys/provider-key.js';
import { PriceBookService } from '../../../money/pricing/price-book.service.js';
import type { GenerationAnswer } from './generation-answer.js';
import { ImageGeneration, type Caller } from './generation.service.js';
import type { ImageRequest } from './image-request.js';
import type { ProviderRoute } from './model-catalog.js';
import { freePayment } from './payment/free-payment.js';
import { Upstreams } from './upstreams.service.js';

/** The provider key that a call uses, and the route to the provider that the key belongs to. */
export type Byok = { readonly key: SealedProviderKey; readonly route: ProviderRoute };

/**
 * Makes calls with the customer's own key at the provider (BYOK): no hold, no debit, no fee. No module that this file imports,
 * directly or not, may reach a wallet; `test/integration/byok.spec.ts` follows the imports and proves it.
 */
@Injectable()
export class ByokCalls {
  constructor(
    private readonly generation: ImageGeneration,
    private readonly vault: ProviderKeyVault,
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
  ): Promise<Byok | null> {
    const routes = model.routes.filter(({ provider }) => isKeyedProvider(provider));
    if (routes.length === 0) return null;
    const keys = await this.vault.findLive(principal.accountId);
    for (const route of routes) {
      const key = keys.find(({ provider }) => provider === route.provider);
      if (key !== undefined) return { key, route };
    }
    return null;
  }

  /** Discards the cached keys of the account, so that the next `find` reads a key that another process has attached. */
  forget({ principal }: Caller): void {
    this.vault.forget(principal);
  }

  /** Rejects with a `Problem` that says that nothing was charged. */
  async generate(request: ImageRequest, caller: Caller, { key, route }: Byok): Promise<GenerationAnswer> {
    const { id } = request.model;
    // The price is for information only: it is what the call would have cost the wallet.
    const price = this.prices.current(id) ?? (await this.prices.requirePrice(id));
    return this.generation.generate(request, caller, {
      price,
      fellBackFrom: null,
      // There is only this route: over our own account the same image would have to be charged to the wallet.
      upstream: { routes: [route], source: await this.upstreams.withKey(key) },
      fund: (facts) => ({
        generation: { ...facts, providerKeyId: key.id, holdId: null },
        payment: freePayment,
      }),
    });
  }
}
