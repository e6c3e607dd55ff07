import { Injectable } from '@nestjs/common';
import { isKeyedProvider } from '../../provider-keys/keyed-provider.js';
import { ProviderKeyVault } from '../../provider-keys/provider-key-vault.service.js';
import type { SealedProviderKey } from '../../provider-keys/provider-key.js';
import { PriceBook } from '../../../money/pricing/price-book.service.js';
import type { GenerationAnswer } from './generation-answer.js';
import { ImageGeneration, type Caller } from './generation.service.js';
import type { ImageRequest } from './image-request.js';
import type { ProviderRoute } from './model-catalog.js';
import { freePayment } from './payment/free-payment.js';
import { Upstreams } from './upstreams.service.js';

/** A call that goes over the customer's own key: which one, and where it leads. */
export type Byok = { readonly key: SealedProviderKey; readonly route: ProviderRoute };

/**
 * Calls over a customer's own key at the provider (BYOK): no hold, no debit, no fee. Nothing that this file loads,
 * directly or not, can reach a wallet, and nothing may: `test/integration/byok.spec.ts` walks the way.
 */
@Injectable()
export class ByokCalls {
  constructor(
    private readonly generation: ImageGeneration,
    private readonly vault: ProviderKeyVault,
    private readonly prices: PriceBook,
    private readonly upstreams: Upstreams,
  ) {}

  /**
   * Null: the account has no key for any provider of this model, as far as this process knows; whatever charges for the call
   * checks it. Throws `DatabaseUnavailableError`: then nobody knows.
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

  /** Another process has attached a key: the next `find` reads it. */
  forget({ principal }: Caller): void {
    this.vault.forget(principal);
  }

  /** Rejects with a `Problem` that says that nothing was charged. */
  async generate(request: ImageRequest, caller: Caller, { key, route }: Byok): Promise<GenerationAnswer> {
    const { id } = request.model;
    // For information: what the call would have cost.
    const price = this.prices.current(id) ?? (await this.prices.priceOf(id));
    return this.generation.generate(request, caller, {
      price,
      fellBackFrom: null,
      // This one way and no other: over our account the same image would cost the wallet.
      upstream: { routes: [route], source: await this.upstreams.over(key) },
      billed: (facts) => ({
        generation: { ...facts, providerKeyId: key.id, holdId: null },
        payment: freePayment,
      }),
    });
  }
}
