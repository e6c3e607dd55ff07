import { Inject, Injectable, Logger } from '@nestjs/common';
import { actorName, newAuditEvent, type AuditActor } from '../../identity/audit-log/audit-event.js';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { ZERO, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { PAYMENT_GATEWAY, type PaymentGateway, type ProviderDispute } from '../stripe/payment-gateway.js';
import type { NewFreeze } from '../../money/wallets/rules/command.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { WalletReader } from '../../money/wallets/wallet-reader.service.js';
import { WalletInDebtError } from '../../money/wallets/wallet.errors.js';
import { PaymentReviewRepository } from '../payment-reviews/payment-review.repository.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { writeOffReference } from '../top-ups/write-off-reference.js';
import type { Dispute } from './dispute.entity.js';
import { isDecidedForUs, isHarmless, isLater, isOpen } from './dispute.machine.js';
import { MovementBooking, disputeFreeze } from './movement-booking.service.js';
import { isTakenAgain, isWithBank } from './dispute-movement.rules.js';
import { DisputeMovementRepository } from './dispute-movement.repository.js';
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
    private readonly wallets: WalletReader,
    private readonly topUps: TopUpRepository,
    private readonly disputes: DisputeRepository,
    private readonly movements: DisputeMovementRepository,
    private readonly booking: MovementBooking,
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
    const isDecided = await this.movements.record(topUp, dispute, told.movements);
    await this.booking.bookAll(topUp);
    if (!isDecided) throw new Error(`${dispute.id} waits for a refund of ${topUp.id} that may fail`);
    await this.follow(dispute, told);
  }

  /** Answers whether the payment is, or was, under review: then it brought no credit that could be taken. */
  private async followUncredited(told: ProviderDispute): Promise<boolean> {
    const { id, paymentIntentId, movements } = told;
    const review = paymentIntentId === null ? null : await this.reviews.findByPaymentIntent(paymentIntentId);
    if (review === null || review.status === 'credited') return false;
    const isTaken = isWithBank(told);
    if (movements.length > 0 && (await this.reviews.noteDispute(review, id, isTaken)))
      this.logger.error(`${id} ${isTaken ? 'took' : 'gave back'} the payment of ${review.id}.`);
    return true;
  }

  /**
   * In another currency, and Stripe has not said what it takes in US dollars. It does when the money leaves a balance in US
   * dollars; the next event then books it. What leaves a balance in another currency is named by the doctor.
   */
  private async settleUnknownAmount({ accountId, id }: TopUp, told: ProviderDispute): Promise<void> {
    this.logger.error(`${told.id} disputes ${id} in ${told.currency}; what it takes in usd is not known.`);
    if (isDecidedForUs(told.status)) return this.unfreeze({ accountId, id: told.id });
    if (isThreat(told)) await this.freezeOnce(accountId, disputeFreeze(told.id));
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
    await this.freezeOnce(topUp.accountId, newFreeze(source, `early fraud warning ${warning.id}`));
  }

  /**
   * Gives up what the dispute has left as debt by now; how much is decided under the wallet's lock. Answers how much it is or,
   * when it was done before with the same idempotency key, was; zero when nothing is owed.
   */
  async writeOff(dispute: Dispute, by: AuditActor, idempotencyKey: string | null): Promise<MicroUsd> {
    const { accountId, id } = dispute;
    const outcome = await this.engine.execute({
      type: 'writeOff',
      accountId,
      actor: actorName(by),
      audit: newAuditEvent(by, { act: 'dispute.written_off', object: id, account: accountId }),
      reference: writeOffReference(`dispute:${id}`, idempotencyKey),
      memo: `Debt of ${id} written off`,
    });
    return outcome.type === 'posted' ? outcome.movement.amountMicros : ZERO;
  }

  /** Once for each dispute: what an operator thaws stays thawed. */
  private async freezeFor(dispute: Dispute, told: ProviderDispute): Promise<void> {
    if (dispute.frozenAt !== null || !isThreat(told)) return;
    await this.freezeOnce(dispute.accountId, disputeFreeze(dispute.id));
    await this.disputes.note(dispute, { frozenAt: this.now() });
  }

  /** What a person has lifted stays lifted, whatever else is told of the same dispute or warning. */
  private async freezeOnce(accountId: string, freeze: NewFreeze): Promise<void> {
    if (await this.wallets.wasFrozenBy(accountId, freeze)) return;
    await this.engine.execute({ type: 'freeze', accountId, actor: 'stripe', freeze });
  }

  private async follow(dispute: Dispute, told: ProviderDispute): Promise<void> {
    const isNewEvent = isLater(dispute.status, told.status);
    const isBack = !isWithBank(told) && told.movements.length > 2;
    // The status is written last: cut off before, the next look thaws. What was taken again after that stays frozen.
    if (isDecidedForUs(told.status) && (isNewEvent || isBack) && !isTakenAgain(told))
      await this.unfreeze(dispute);
    await this.disputes.noteStatus(dispute, told.status);
  }

  /** Lifts its own reason and no other. While the wallet owes, the last one stays: a person decides. */
  private async unfreeze({ accountId, id }: Pick<Dispute, 'accountId' | 'id'>): Promise<void> {
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

function isThreat(told: ProviderDispute): boolean {
  return (isOpen(told.status) && !isHarmless(told.status)) || isWithBank(told);
}

function newFreeze(source: Pick<NewFreeze, 'source' | 'sourceId'>, reason: string): NewFreeze {
  return { ...source, id: newId('freeze'), statusChangeId: newId('statusChange'), reason };
}
