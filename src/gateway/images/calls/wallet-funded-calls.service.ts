import { Injectable } from '@nestjs/common';
import { toActor } from '../../../identity/auth/principal.js';
import { isKeyedProvider, type KeyedProvider } from '../../provider-keys/keyed-provider.js';
import { PriceBookService } from '../../../money/pricing/price-book.service.js';
import { FreeCalls } from './free-calls.service.js';
import type { GenerationAnswer } from './generation-answer.js';
import { nothingCharged } from './generation.errors.js';
import { ImageGeneration, type Caller } from './generation.service.js';
import type { ImageRequest } from './image-request.js';
import { toHoldId } from './payment/hold-names.js';
import { Payments } from './payment/payments.service.js';
import { Upstreams } from './upstreams.service.js';

/** Makes calls with our own account at the provider, which the wallet pays for unless the model is free. */
@Injectable()
export class WalletFundedCalls {
  constructor(
    private readonly generation: ImageGeneration,
    private readonly prices: PriceBookService,
    private readonly payments: Payments,
    private readonly freeCalls: FreeCalls,
    private readonly upstreams: Upstreams,
  ) {}

  /**
   * Resolves after the charge is durable. Rejects with a `Problem` that says what was charged; its cause is
   * `ProviderKeyAttachedError` when the account has a provider key for the model by the time that credit is set aside.
   *
   * @param fellBackFrom the BYOK call that was refused and that this call replaces.
   */
  async generate(
    request: ImageRequest,
    caller: Caller,
    fellBackFrom: string | null = null,
  ): Promise<GenerationAnswer> {
    const { id } = request.model;
    const price = this.prices.current(id) ?? (await this.prices.requirePrice(id).catch(nothingCharged(null)));
    const isFree = price.amountMicros === 0n;
    // After a fallback the refused key is still attached and must not prevent the hold.
    const unlessOwnKeyAt = fellBackFrom === null ? findKeyedProviders(request) : [];
    if (isFree) await this.freeCalls.admit(request, caller, unlessOwnKeyAt);
    return this.generation.generate(request, caller, {
      price,
      fellBackFrom,
      upstream: { routes: request.model.routes, source: this.upstreams.ours },
      fund: (facts) => {
        const holdId = isFree ? null : toHoldId(facts.id);
        const generation = { ...facts, providerKeyId: null, holdId };
        const payment = this.payments.paymentFor(generation, toActor(caller.principal), unlessOwnKeyAt);
        return { generation, payment };
      },
    });
  }
}

function findKeyedProviders({ model }: ImageRequest): KeyedProvider[] {
  return model.routes.map(({ provider }) => provider).filter(isKeyedProvider);
}
