import { Injectable } from '@nestjs/common';
import { toActor } from '../../../identity/auth/principal.js';
import { isKeyedProvider, type KeyedProvider } from '../../provider-keys/keyed-provider.js';
import { PriceBook } from '../../../money/pricing/price-book.service.js';
import { FreeCalls } from './free-calls.service.js';
import type { GenerationAnswer } from './generation-answer.js';
import { nothingCharged } from './generation.errors.js';
import { ImageGeneration, type Caller } from './generation.service.js';
import type { ImageRequest } from './image-request.js';
import { holdIdOf } from './payment/hold-names.js';
import { Payments } from './payment/payments.service.js';
import { Upstreams } from './upstreams.service.js';

/** Calls over our own account at the provider: paid from the wallet, or of a free model. */
@Injectable()
export class WalletFundedCalls {
  constructor(
    private readonly generation: ImageGeneration,
    private readonly prices: PriceBook,
    private readonly payments: Payments,
    private readonly freeCalls: FreeCalls,
    private readonly upstreams: Upstreams,
  ) {}

  /**
   * Resolves after the charge is durable. Rejects with a `Problem` that says what was charged; of
   * `ProviderKeyAttachedError` when the account has a key of its own for the model by the time that the wallet is asked.
   *
   * @param fellBackFrom the refused call over the customer's own key that this one is made instead of.
   */
  async generate(
    request: ImageRequest,
    caller: Caller,
    fellBackFrom: string | null = null,
  ): Promise<GenerationAnswer> {
    const { id } = request.model;
    const price = this.prices.current(id) ?? (await this.prices.priceOf(id).catch(nothingCharged(null)));
    const isFree = price.amountMicros === 0n;
    // A key that was refused, and may be replaced by the wallet, is still there.
    const unlessOwnKeyAt = fellBackFrom === null ? keyedProvidersOf(request) : [];
    if (isFree) await this.freeCalls.admit(request, caller, unlessOwnKeyAt);
    return this.generation.generate(request, caller, {
      price,
      fellBackFrom,
      upstream: { routes: request.model.routes, source: this.upstreams.ours },
      billed: (facts) => {
        const holdId = isFree ? null : holdIdOf(facts.id);
        const generation = { ...facts, providerKeyId: null, holdId };
        const payment = this.payments.of(generation, toActor(caller.principal), unlessOwnKeyAt);
        return { generation, payment };
      },
    });
  }
}

function keyedProvidersOf({ model }: ImageRequest): KeyedProvider[] {
  return model.routes.map(({ provider }) => provider).filter(isKeyedProvider);
}
