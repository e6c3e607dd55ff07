import { Injectable } from '@nestjs/common';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { actorName, newAuditEvent, type AuditActor } from '../../identity/audit-log/audit-event.js';
import { newId } from '../../platform/common/ids.js';
import { micros } from '../../platform/common/money.js';
import type { Outcome } from './rules/command.js';
import { WalletEngine } from './wallet-engine.js';
import type { AdjustmentRequest, GrantRequest } from './wallet.dto.js';

/** What operators do to a wallet by hand. Each operation writes its reason and its actor into the books. */
@Injectable()
export class WalletOperationsService {
  constructor(
    private readonly engine: WalletEngine,
    private readonly accounts: AccountsService,
  ) {}

  /** Gives promotional credit; with an idempotency key, once. Throws for a new grant whose expiry has passed. */
  async grant(
    accountId: string,
    request: GrantRequest,
    by: AuditActor,
    idempotencyKey: string | null,
  ): Promise<Outcome> {
    await this.accounts.require(accountId);
    const expiresAtMs = request.expires_at == null ? null : request.expires_at * 1_000;
    const priority = request.priority ?? 0;
    const reference = `grant:${idempotencyKey ?? newId('request')}`;
    const fingerprint = JSON.stringify([request.amount_micros, request.reason, expiresAtMs, priority]);
    return this.engine.execute({
      type: 'grant',
      accountId,
      actor: actorName(by),
      audit: newAuditEvent(by, {
        act: 'credit.granted',
        object: reference,
        account: accountId,
        after: { amount_micros: request.amount_micros, expires_at: request.expires_at ?? null, priority },
        reason: request.reason,
      }),
      reference,
      fingerprint,
      memo: request.reason,
      lotId: newId('creditLot'),
      amountMicros: micros(BigInt(request.amount_micros)),
      priority,
      expiresAtMs,
    });
  }

  /** Corrects a balance. Taking away never goes below zero: then it throws `InsufficientCreditsError`. */
  async adjust(
    accountId: string,
    request: AdjustmentRequest,
    by: AuditActor,
    idempotencyKey: string | null,
  ): Promise<Outcome> {
    await this.accounts.require(accountId);
    const reference = `adjustment:${idempotencyKey ?? newId('request')}`;
    return this.engine.execute({
      type: 'adjust',
      accountId,
      actor: actorName(by),
      audit: newAuditEvent(by, {
        act: 'credit.adjusted',
        object: reference,
        account: accountId,
        after: { amount_micros: request.amount_micros },
        reason: request.reason,
      }),
      reference,
      fingerprint: JSON.stringify([request.amount_micros, request.reason]),
      memo: request.reason,
      lotId: newId('creditLot'),
      amountMicros: micros(BigInt(request.amount_micros)),
    });
  }

  /** Adds the operators' reason to freeze; one that is in force stays as it is. */
  async freeze(accountId: string, reason: string, by: AuditActor): Promise<StatusOutcome> {
    await this.accounts.require(accountId);
    const ids = { id: newId('freeze'), statusChangeId: newId('statusChange') };
    const freeze = { ...ids, source: 'operator', sourceId: '', reason } as const;
    const audit = newAuditEvent(by, {
      act: 'wallet.frozen',
      object: accountId,
      account: accountId,
      after: { freeze: freeze.id },
      reason,
    });
    return toStatus(
      await this.engine.execute({ type: 'freeze', accountId, actor: actorName(by), audit, freeze }),
    );
  }

  /**
   * Lifts one reason, or all of them when `freezeId` is null, whatever their source, because a person has checked. Idempotent.
   * Throws `WalletInDebtError` when nothing would be left that keeps a wallet that owes frozen.
   */
  async unfreeze(
    accountId: string,
    freezeId: string | null,
    reason: string,
    by: AuditActor,
  ): Promise<StatusOutcome> {
    await this.accounts.require(accountId);
    const lifts = freezeId === null ? {} : { id: freezeId };
    const statusChangeId = newId('statusChange');
    const audit = newAuditEvent(by, {
      act: 'wallet.unfrozen',
      object: accountId,
      account: accountId,
      after: { lifted: freezeId ?? 'all' },
      reason,
    });
    const request = { accountId, actor: actorName(by), audit, lifts, reason, statusChangeId };
    return toStatus(await this.engine.execute({ type: 'unfreeze', ...request }));
  }
}

type StatusOutcome = Extract<Outcome, { readonly type: 'status' }>;

function toStatus(outcome: Outcome): StatusOutcome {
  if (outcome.type !== 'status') throw new Error(`expected a status, not ${outcome.type}`);
  return outcome;
}
