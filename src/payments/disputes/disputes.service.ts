import { Injectable } from '@nestjs/common';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import type { AuditActor } from '../../identity/audit-log/audit-event.js';
import { type MicroUsd } from '../../platform/common/money.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import type { MovedDispute } from './dispute.dto.js';
import { DisputeMovementRepository } from './dispute-movement.repository.js';
import { DisputeRepository } from './dispute.repository.js';
import { DisputeSettlementService } from './dispute-settlement.service.js';

/** Lists disputes for operators, and writes off the debt that they left. */
@Injectable()
export class DisputesService {
  constructor(
    private readonly disputes: DisputeRepository,
    private readonly movements: DisputeMovementRepository,
    private readonly settlement: DisputeSettlementService,
    private readonly accounts: AccountsService,
  ) {}

  /** Lists the account's disputes with their movements, newest first. Throws `ResourceMissingError` for an unknown account. */
  async list(accountId: string): Promise<readonly MovedDispute[]> {
    await this.accounts.require(accountId);
    const disputes = await this.disputes.findByAccount(accountId);
    const movements = await this.movements.findByAccount(accountId);
    const writtenOff = await this.disputes.writtenOffIn(accountId);
    return disputes.map((dispute) => ({
      dispute,
      movements: movements.filter(({ disputeId }) => disputeId === dispute.id),
      writtenOffMicros: writtenOff.get(dispute.id) ?? null,
    }));
  }

  /**
   * Writes off what the dispute left as debt. Returns how much it is or, with the same idempotency key, was; zero when nothing is owed. Throws
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
