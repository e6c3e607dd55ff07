import { Injectable } from '@nestjs/common';
import type { KeyedProvider } from '../../../provider-keys/keyed-provider.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import type { WalletFundedGeneration } from '../records/generation.js';
import { freePayment } from './free-payment.js';
import type { Payment } from './payment.js';
import { WalletPayment } from './wallet-payment.js';

/** Chooses the payment of calls with our own account at the provider. Its types do not accept a BYOK call. */
@Injectable()
export class Payments {
  constructor(private readonly engine: WalletEngine) {}

  /**
   * @param actor the actor on the ledger rows: the key that called, or `system` for recovery.
   * @param unlessOwnKeyAt nothing is set aside when the account has a provider key at one of these providers.
   */
  paymentFor(
    generation: WalletFundedGeneration,
    actor: string,
    unlessOwnKeyAt: readonly KeyedProvider[] = [],
  ): Payment {
    const { holdId } = generation;
    if (holdId === null) return freePayment;
    return new WalletPayment(this.engine, { ...generation, holdId }, actor, unlessOwnKeyAt);
  }
}
