import { Injectable } from '@nestjs/common';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import type { AuditActor } from '../../identity/audit-log/audit-event.js';
import { type MicroUsd } from '../../platform/common/money.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import type { MovedDispute } from './dispute.dto.js';
import { DisputeMovementRepository } from './dispute-movement.repository.js';
import { DisputeRepository } from './dispute.repository.js';
import { DisputeSettlement } from './dispute-settlement.service.js';

/** What operators see of disputes and do about them. */
@Injectable()
export class Disputes {
  constructor(
    private readonly disputes: DisputeRepository,
    private readonly movements: DisputeMovementRepository,
    private readonly settlement: DisputeSettlement,
    private readonly accounts: AccountsService,
  ) {}

  /** Newest first, with how each one's money moved. Throws `ResourceMissingError` for an unknown account. */
  async list(accountId: string): Promise<readonly MovedDispute[]> {
    await this.accounts.require(accountId);
    const disputes = await this.disputes.ofAccount(accountId);
    const movements = await this.movements.ofAccount(accountId);
    const writtenOff = await this.disputes.writtenOffIn(accountId);
    return disputes.map((dispute) => ({
      dispute,
      movements: movements.filter(({ disputeId }) => disputeId === dispute.id),
      writtenOffMicros: writtenOff.get(dispute.id) ?? null,
    }));
  }

  /**
   * Answers what is given up now or, with the same idempotency key, was before; zero when there is nothing to. Throws
   * `ResourceMissingError`.
   */
  async writeOff(
    accountId: string,
    id: string,
    by: AuditActor,
    idempotencyKey: string | null,
  ): Promise<MicroUsd> {
    const dispute = await this.disputes.find(accountId, id);
    if (dispute === null) throw new ResourceMissingError('dispute', id);
    return this.settlement.writeOff(dispute, by, idempotencyKey);
  }
}
