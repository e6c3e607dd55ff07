import { Injectable } from '@nestjs/common';
import { AccountsService } from '../../accounts/accounts.service.js';
import { micros, type MicroUsd } from '../../common/money.js';
import { ResourceMissingError } from '../../problems/common.errors.js';
import { WalletReader } from '../../wallets/wallet-reader.service.js';
import type { Dispute } from './dispute.entity.js';
import { DisputeRepository } from './dispute.repository.js';
import { DisputeSettlement } from './dispute-settlement.service.js';

/** What operators see of disputes and do about them. */
@Injectable()
export class Disputes {
  constructor(
    private readonly disputes: DisputeRepository,
    private readonly settlement: DisputeSettlement,
    private readonly wallets: WalletReader,
    private readonly accounts: AccountsService,
  ) {}

  /** Newest first. Throws `ResourceMissingError` for an unknown account. */
  async list(accountId: string): Promise<readonly Dispute[]> {
    await this.accounts.require(accountId);
    return this.disputes.ofAccount(accountId);
  }

  /** Answers what was given up now; null when there was nothing to. Throws `ResourceMissingError`. */
  async writeOff(accountId: string, id: string, actor: string): Promise<MicroUsd | null> {
    const dispute = await this.disputes.find(accountId, id);
    if (dispute === null) throw new ResourceMissingError('dispute', id);
    const { debt } = await this.wallets.read(accountId);
    return this.settlement.writeOff(dispute, micros(BigInt(debt)), actor);
  }
}
