import { Injectable } from '@nestjs/common';
import type { KeyedProvider } from '../../../provider-keys/keyed-provider.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import type { OrdinaryGeneration } from '../records/generation.js';
import { freePayment } from './free-payment.js';
import type { Payment } from './payment.js';
import { WalletPayment } from './wallet-payment.js';

/** Who pays for an ordinary call. It cannot be asked about a call over a customer's own provider key. */
@Injectable()
export class Payments {
  constructor(private readonly engine: WalletEngine) {}

  /**
   * @param actor who stands on the ledger rows: the key that called, or `system` for recovery.
   * @param unlessOwnKeyAt with a key of the account at one of these providers, nothing is set aside.
   */
  of(generation: OrdinaryGeneration, actor: string, unlessOwnKeyAt: readonly KeyedProvider[] = []): Payment {
    const { holdId } = generation;
    if (holdId === null) return freePayment;
    return new WalletPayment(this.engine, { ...generation, holdId }, actor, unlessOwnKeyAt);
  }
}
