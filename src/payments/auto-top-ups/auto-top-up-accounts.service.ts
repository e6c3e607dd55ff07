import { Injectable } from '@nestjs/common';
import { micros } from '../../platform/common/money.js';
import { WalletReaderService } from '../../money/wallets/wallet-reader.service.js';
import { isHarmless, isOpen } from '../disputes/dispute.machine.js';
import { DisputeRepository } from '../disputes/dispute.repository.js';
import type { AccountState } from './auto-top-up.rules.js';

/** Reads the state of an account's wallet and disputes that decides whether its card may be charged. */
@Injectable()
export class AutoTopUpAccountsService {
  constructor(
    private readonly wallets: WalletReaderService,
    private readonly disputes: DisputeRepository,
  ) {}

  async read(accountId: string): Promise<AccountState> {
    const { status, available } = await this.wallets.read(accountId);
    const disputes = await this.disputes.findByAccount(accountId);
    return {
      availableMicros: micros(BigInt(available)),
      frozen: status !== 'active',
      disputed: disputes.some((dispute) => isOpen(dispute.status) && !isHarmless(dispute.status)),
    };
  }
}
