import { Injectable } from '@nestjs/common';
import { WalletEngine } from '../../wallets/wallet-engine.js';
import type { OrdinaryGeneration } from '../records/generation.js';
import { freePayment } from './free-payment.js';
import type { Payment } from './payment.js';
import { WalletPayment } from './wallet-payment.js';

/** Who pays for an ordinary call. It cannot be asked about a call over a customer's own provider key. */
@Injectable()
export class Payments {
  constructor(private readonly engine: WalletEngine) {}

  /** @param actor who stands on the ledger rows: the key that called, or `system` for recovery. */
  of(generation: OrdinaryGeneration, actor: string): Payment {
    const { holdId } = generation;
    return holdId === null ? freePayment : new WalletPayment(this.engine, { ...generation, holdId }, actor);
  }
}
