import { Inject, Injectable, Logger } from '@nestjs/common';
import { actorName, newAuditEvent, type AuditActor } from '../../audit/audit-event.js';
import type { Clock } from '../../common/clock.js';
import { newId } from '../../common/ids.js';
import { ZERO, type MicroUsd } from '../../common/money.js';
import { LEDGER_CLOCK } from '../../database/ledger-clock.js';
import {
  PAYMENT_GATEWAY,
  type PaymentGateway,
  type ProviderDispute,
} from '../../payments/payment-gateway.js';
import type { NewFreeze } from '../../wallets/rules/command.js';
import { WalletEngine } from '../../wallets/wallet-engine.js';
import { WalletInDebtError } from '../../wallets/wallet.errors.js';
import { PaymentReviewRepository } from '../review/payment-review.repository.js';
import type { TopUp } from '../top-up.js';
import { TopUpRepository } from '../top-up.repository.js';
import type { Dispute } from './dispute.entity.js';
import { isDecidedForUs, isHarmless, isLater, isOpen } from './dispute.machine.js';
import { DisputeRepository } from './dispute.repository.js';

/**
 * Does to the wallet what Stripe says of a dispute: freezes when a bank disputes, takes the credit when the money is
 * taken (what was spent becomes debt), gives it back when the money comes back, thaws when it is decided for us.
 * What moves follows from Stripe's balance transactions, never from the kind or the order of events; each
 * step may be repeated by any process at any time.
 */
@Injectable()
export class DisputeSettlement {
  private readonly logger = new Logger(DisputeSettlement.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly engine: WalletEngine,
    private readonly topUps: TopUpRepository,
    private readonly disputes: DisputeRepository,
    private readonly reviews: PaymentReviewRepository,
  ) {}

  /** Throws `PaymentsUnavailableError`, or what the engine and the database throw; then it has to run again. */
  async settle(disputeId: string): Promise<void> {
    const told = await this.gateway.retrieveDispute(disputeId);
    if (told === null) {
      this.logger.warn(`Stripe knows no dispute ${disputeId}.`);
      return;
    }
    if (await this.followUncredited(told)) return;
    const topUp = await this.topUps.findByPayment(told);
    // What is not a top-up's is another system's on the same Stripe account.
    if (topUp === null) return;
    if (told.takenCents === null) return this.settleUnknownAmount(topUp, told);
    const dispute = await this.disputes.ensure(topUp, told, told.takenCents);
    await this.freezeFor(dispute, told);
    if (told.withdrawn) await this.takeCredit(topUp, dispute);
    if (told.reinstated) await this.giveBack(dispute.accountId, dispute.id);
    await this.follow(dispute, told);
  }

  /** Answers whether the payment is, or was, under review: then it brought no credit that could be taken. */
  private async followUncredited(told: ProviderDispute): Promise<boolean> {
    const { id, paymentIntentId, withdrawn, reinstated } = told;
    const review = paymentIntentId === null ? null : await this.reviews.findByPaymentIntent(paymentIntentId);
    if (review === null || review.status === 'credited') return false;
    const isTaken = withdrawn && !reinstated;
    if ((isTaken || reinstated) && (await this.reviews.noteDispute(review, id, isTaken)))
      this.logger.error(`${id} ${isTaken ? 'took' : 'gave back'} the payment of ${review.id}.`);
    return true;
  }

  /**
   * In another currency, and Stripe has not said what it takes in US dollars. It does when the money leaves a balance in US
   * dollars; the next event then books it. What leaves a balance in another currency is named by the doctor.
   */
  private async settleUnknownAmount({ accountId, id }: TopUp, told: ProviderDispute): Promise<void> {
    this.logger.error(`${told.id} disputes ${id} in ${told.currency}; what it takes in usd is not known.`);
    if (isDecidedForUs(told.status)) return this.thaw({ accountId, id: told.id });
    if (isThreat(told)) await this.freeze(accountId, disputeFreeze(told.id));
  }

  /** An issuer suspects fraud; a dispute usually follows. Nothing more is spent until a person has looked. */
  async heed(warningId: string): Promise<void> {
    const warning = await this.gateway.retrieveFraudWarning(warningId);
    const topUp = warning === null ? null : await this.topUps.findByPayment(warning);
    if (warning === null || topUp === null) return;
    this.logger.error(
      `${topUp.id} is suspected of fraud (${warning.fraudType}): refund it, or unfreeze the wallet.`,
    );
    if (!warning.actionable) return;
    const source = { source: 'early_fraud_warning', sourceId: warning.id } as const;
    await this.freeze(topUp.accountId, newFreeze(source, `early fraud warning ${warning.id}`));
  }

  /**
   * Gives up what the dispute left as debt, once: how much is decided under the wallet's lock. Answers how much it is or,
   * when it was done before, was; zero when nothing is owed.
   */
  async writeOff(dispute: Dispute, by: AuditActor): Promise<MicroUsd> {
    const { accountId, id } = dispute;
    const outcome = await this.engine.execute({
      type: 'writeOff',
      accountId,
      actor: actorName(by),
      audit: newAuditEvent(by, { act: 'dispute.written_off', object: id, account: accountId }),
      reference: `dispute:${id}:written_off`,
      takenReference: `dispute:${id}:withdrawn`,
      returnedReference: `dispute:${id}:reinstated`,
      memo: `Debt of ${id} written off`,
    });
    if (outcome.type !== 'posted') return ZERO;
    // The row is a copy, written after the ledger: cut off in between, the next attempt copies what is recorded there.
    const { amountMicros } = outcome.movement;
    await this.disputes.noteWrittenOff(dispute, amountMicros);
    return amountMicros;
  }

  /** Once for each dispute: what an operator thaws stays thawed. */
  private async freezeFor(dispute: Dispute, told: ProviderDispute): Promise<void> {
    if (dispute.frozenAt !== null || !isThreat(told)) return;
    await this.freeze(dispute.accountId, disputeFreeze(dispute.id));
    await this.disputes.note(dispute, { frozenAt: this.now() });
  }

  private async freeze(accountId: string, freeze: NewFreeze): Promise<void> {
    await this.engine.execute({ type: 'freeze', accountId, actor: 'stripe', freeze });
  }

  private async takeCredit(topUp: TopUp, dispute: Dispute): Promise<void> {
    if (dispute.withdrawnAt !== null) return;
    const parts = await this.disputes.fixParts(topUp, dispute);
    if (parts === null) throw new Error(`${dispute.id} waits for a refund of ${topUp.id} that may fail`);
    await this.engine.execute({
      type: 'clawBack',
      cause: 'dispute',
      accountId: dispute.accountId,
      actor: 'stripe',
      reference: `dispute:${dispute.id}:withdrawn`,
      fingerprint: fingerprintOf(parts),
      memo: `Dispute ${dispute.id}, ${dispute.reason}`,
      lotId: topUp.lotId,
      amountMicros: parts.creditMicros,
      feeMicros: parts.feeMicros,
      taxMicros: parts.taxMicros,
      excessMicros: parts.excessMicros,
      freeze: disputeFreeze(dispute.id),
    });
    // The claw-back froze the wallet, whether or not anything else had.
    await this.disputes.noteMoney(dispute, 'withdrawnAt', { frozenAt: dispute.frozenAt ?? this.now() });
    this.logger.warn(`${dispute.id} took its credit of ${topUp.id}.`);
    if (parts.excessMicros > 0n) {
      this.logger.error(
        `${dispute.id} took ${parts.excessMicros} micros beyond what was left of ${topUp.id}.`,
      );
    }
  }

  private async giveBack(accountId: string, id: string): Promise<void> {
    const dispute = await this.disputes.find(accountId, id);
    if (dispute === null || dispute.creditMicros === null || dispute.feeMicros === null) return;
    if (dispute.reinstatedAt !== null) return;
    const { creditMicros, feeMicros, excessMicros } = dispute;
    const parts = { creditMicros, feeMicros, taxMicros: dispute.taxMicros ?? ZERO, excessMicros };
    await this.engine.execute({
      type: 'reinstate',
      takenReference: `dispute:${id}:withdrawn`,
      writtenOffReference: `dispute:${id}:written_off`,
      accountId,
      actor: 'stripe',
      reference: `dispute:${id}:reinstated`,
      fingerprint: fingerprintOf(parts),
      memo: `Dispute ${id} won`,
      lotId: dispute.reinstatementLotId,
      spentLotId: newId('creditLot'),
      amountMicros: parts.creditMicros,
      feeMicros: parts.feeMicros,
      taxMicros: parts.taxMicros,
      excessMicros: parts.excessMicros,
    });
    await this.disputes.noteMoney(dispute, 'reinstatedAt');
  }

  private async follow(dispute: Dispute, told: ProviderDispute): Promise<void> {
    const isNews = isLater(dispute.status, told.status);
    // The status is written last: cut off before, the next look thaws.
    if (isDecidedForUs(told.status) && isNews) await this.thaw(dispute);
    await this.disputes.noteStatus(dispute, told.status);
  }

  /** Lifts its own reason and no other. While the wallet owes, the last one stays: a person decides. */
  private async thaw({ accountId, id }: Pick<Dispute, 'accountId' | 'id'>): Promise<void> {
    try {
      const lifts = { source: 'dispute', sourceId: id } as const;
      const reason = `dispute ${id} was decided for us`;
      const change = { lifts, reason, statusChangeId: newId('statusChange') };
      await this.engine.execute({ type: 'unfreeze', accountId, actor: 'stripe', ...change });
    } catch (error) {
      if (!(error instanceof WalletInDebtError)) throw error;
      this.logger.warn(`${accountId} stays frozen: it owes.`);
    }
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}

function isThreat({ status, withdrawn, reinstated }: ProviderDispute): boolean {
  return (isOpen(status) && !isHarmless(status)) || (withdrawn && !reinstated);
}

function disputeFreeze(id: string): NewFreeze {
  return newFreeze({ source: 'dispute', sourceId: id }, `dispute ${id}`);
}

function newFreeze(source: Pick<NewFreeze, 'source' | 'sourceId'>, reason: string): NewFreeze {
  return { ...source, id: newId('freeze'), statusChangeId: newId('statusChange'), reason };
}

/** As it was before there was tax or excess, where there is none: what an older version began is the same request. */
function fingerprintOf(parts: {
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  readonly excessMicros: MicroUsd;
}): string {
  const { creditMicros, feeMicros, taxMicros, excessMicros } = parts;
  const excess = excessMicros === 0n ? '' : `:beyond:${excessMicros}`;
  return `${creditMicros}:${feeMicros}${taxMicros === 0n ? '' : `:${taxMicros}`}${excess}`;
}
