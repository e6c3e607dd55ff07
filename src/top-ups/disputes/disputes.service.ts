import { Injectable } from '@nestjs/common';
import { AccountsService } from '../../accounts/accounts.service.js';
import type { AuditActor } from '../../audit/audit-event.js';
import { type MicroUsd } from '../../common/money.js';
import { ResourceMissingError } from '../../problems/common.errors.js';
import type { Dispute } from './dispute.entity.js';
import { DisputeRepository } from './dispute.repository.js';
import { DisputeSettlement } from './dispute-settlement.service.js';

/** What operators see of disputes and do about them. */
@Injectable()
export class Disputes {
  constructor(
    private readonly disputes: DisputeRepository,
    private readonly settlement: DisputeSettlement,
    private readonly accounts: AccountsService,
  ) {}

  /** Newest first. Throws `ResourceMissingError` for an unknown account. */
  async list(accountId: string): Promise<readonly Dispute[]> {
    await this.accounts.require(accountId);
    return this.disputes.ofAccount(accountId);
  }

  /** Answers what is given up, now or before; zero when there is nothing to. Throws `ResourceMissingError`. */
  async writeOff(accountId: string, id: string, by: AuditActor): Promise<MicroUsd> {
    const dispute = await this.disputes.find(accountId, id);
    if (dispute === null) throw new ResourceMissingError('dispute', id);
    return this.settlement.writeOff(dispute, by);
  }
}
