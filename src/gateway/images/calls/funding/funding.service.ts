import { Injectable } from '@nestjs/common';
import { PriceBookService } from '../../../../money/pricing/price-book.service.js';
import { ProviderKeyAttachedError } from '../../../../money/wallets/wallet.errors.js';
import { isKeyedProvider } from '../../../provider-keys/provider-key.js';
import type { Caller } from '../caller.js';
import { nothingCharged } from '../generation.errors.js';
import type { ImageRequest } from '../image-request.js';
import { getBillingMode, type Generation } from '../records/generation.js';
import { Upstreams } from '../../providers/configured-providers.js';
import { FreeFunding } from './free-funding.service.js';
import type { ChosenFunding, Funding } from './funding.js';
import { ProviderKeyFunding } from './provider-key-funding.service.js';
import { WalletFunding } from './wallet-funding.service.js';

/** Each attempt finds a provider key that did not exist before, and an account has few keys. */
const ATTEMPTS_MAX = 10;

/**
 * Chooses who pays for a call: the customer's own provider key when there is one for the model, no one when the model is free, and
 * the wallet otherwise. No call is paid by two of them.
 */
@Injectable()
export class FundingService {
  constructor(
    private readonly providerKeys: ProviderKeyFunding,
    private readonly free: FreeFunding,
    private readonly wallet: WalletFunding,
    private readonly prices: PriceBookService,
    private readonly upstreams: Upstreams,
  ) {}

  /**
   * Chooses a provider key if this process knows of one. Otherwise the commit that sets credit aside checks for a key that another
   * process has attached (`ProviderKeyAttachedError`). Rejects with a `Problem`, before anything was charged.
   *
   * @param fellBackFrom the BYOK call that was refused and that this call replaces. The refused key is still attached then, and must
   * not prevent the hold.
   */
  async choose(
    request: ImageRequest,
    caller: Caller,
    fellBackFrom: string | null = null,
  ): Promise<ChosenFunding> {
    const { id, routes } = request.model;
    const isReplacement = fellBackFrom !== null;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      const own = isReplacement
        ? null
        : await this.providerKeys.find(request, caller).catch(nothingCharged(null));
      if (own !== null) {
        return this.providerKeys.choose(request, own).catch(nothingCharged(own.key.id));
      }
      const price = await this.prices.requirePrice(id).catch(nothingCharged(null));
      const isFree = price.amountMicros === 0n;
      const unlessOwnKeyAt = isReplacement
        ? []
        : routes.map(({ provider }) => provider).filter(isKeyedProvider);
      const upstream = { routes, source: this.upstreams.ours };
      const chosen = { price, upstream, providerKey: null, unlessOwnKeyAt, fellBackFrom };
      if (!isFree) return { ...chosen, mode: 'wallet', funding: this.wallet };
      const admission = await this.free.admit(request, caller, unlessOwnKeyAt);
      if (admission === 'admitted') return { ...chosen, mode: 'free', funding: this.free };
      this.forgetKeys(caller);
    }
    throw new ProviderKeyAttachedError();
  }

  /** Must be called when a key was attached that this process did not know of. */
  forgetKeys(caller: Caller): void {
    this.providerKeys.forget(caller);
  }

  /** Returns the funding of a call that was started earlier, perhaps by a process that is dead now. */
  forStartedCall(generation: Generation): Funding {
    switch (getBillingMode(generation)) {
      case 'wallet':
        return this.wallet;
      case 'byok':
        return this.providerKeys;
      case 'free':
        return this.free;
    }
  }
}
