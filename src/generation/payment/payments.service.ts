import { Injectable } from '@nestjs/common';
import { WalletEngine } from '../../wallets/wallet-engine.js';
import type { Generation } from '../records/generation.js';
import { freePayment } from './free-payment.js';
import type { Payment } from './payment.js';
import { WalletPayment } from './wallet-payment.js';

/** Decides who pays. */
@Injectable()
export class Payments {
  constructor(private readonly engine: WalletEngine) {}

  /** @param actor who stands on the ledger rows: the key that called, or `system` for recovery. */
  of(generation: Generation, actor: string): Payment {
    const { holdId } = generation;
    return holdId === null ? freePayment : new WalletPayment(this.engine, { ...generation, holdId }, actor);
  }
}
