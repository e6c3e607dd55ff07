import { Inject, Injectable, Logger } from '@nestjs/common';
import { actorName, newAuditEvent, type AuditActor } from '../../identity/audit-log/audit-event.js';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { ZERO, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { NewFreeze } from '../../money/wallets/rules/command.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { WalletReaderService } from '../../money/wallets/wallet-reader.service.js';
import { WalletInDebtError } from '../../money/wallets/wallet.errors.js';
import { PaymentReviewRepository } from '../payment-reviews/payment-review.repository.js';
import { PAYMENT_GATEWAY, type PaymentGateway, type ProviderDispute } from '../stripe/payment-gateway.js';
import { StripeEventHandlers } from '../stripe/stripe-inbox.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { writeOffReference } from '../top-ups/write-off-reference.js';
import type { Dispute } from './dispute.entity.js';
import { isDecidedForUs, isHarmless, isLater, isOpen } from './dispute.machine.js';
import { isTakenAgain, isWithBank } from './dispute-movement.rules.js';
import { DisputeMovementRepository } from './dispute-movement.repository.js';
import { DisputeRepository } from './dispute.repository.js';
import { MovementBookingService, toDisputeFreeze } from './movement-booking.service.js';

/** Each of them is handled alike: the present state of the dispute, and of its money, is read from Stripe. */
const DISPUTE_EVENTS = [
  'charge.dispute.created',
  'charge.dispute.updated',
  'charge.dispute.funds_withdrawn',
  'charge.dispute.funds_reinstated',
  'charge.dispute.closed',
] as const;

/**
 * Applies to the wallet what Stripe reports of a dispute: freezes it when a bank disputes, takes the credit when the money is
 * taken (what was spent becomes debt), gives it back when the money comes back, and unfreezes when it is decided for us.
 * What moves follows from Stripe's balance transactions, and never from the type or the order of events. Any process may repeat
 * each step at any time.
 */
@Injectable()
export class DisputeSettlementService {
  private readonly logger = new Logger(DisputeSettlementService.name);

  constructor(
    handlers: StripeEventHandlers,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly engine: WalletEngine,
    private readonly wallets: WalletReaderService,
    private readonly topUps: TopUpRepository,
    private readonly disputes: DisputeRepository,
    private readonly movements: DisputeMovementRepository,
    private readonly booking: MovementBookingService,
    private readonly reviews: PaymentReviewRepository,
  ) {
    handlers.register(DISPUTE_EVENTS, ({ objectId }) => this.settle(objectId));
    handlers.register(['radar.early_fraud_warning.created'], ({ objectId }) => this.applyWarning(objectId));
  }

  /** Throws `PaymentsUnavailableError`, or what the engine and the database throw; then it has to run again. */
  async settle(disputeId: string): Promise<void> {
    const reported = await this.gateway.retrieveDispute(disputeId);
    if (reported === null) {
      this.logger.warn({ event: 'dispute.missing', dispute: disputeId }, 'Stripe does not know a dispute');
      return;
    }
    if (await this.applyToUncredited(reported)) return;
    const topUp = await this.topUps.findByPayment(reported);
    // A payment that is not a top-up's belongs to another system on the same Stripe account.
    if (topUp === null) return;
    if (reported.takenCents === null) return this.settleUnknownAmount(topUp, reported);
    const dispute = await this.disputes.ensure(topUp, reported, reported.takenCents);
    await this.freezeFor(dispute, reported);
    await this.movements.record(topUp, dispute, reported.movements);
    await this.booking.bookAll(topUp);
    await this.applyStatus(dispute, reported);
  }

  /** Returns whether the payment is, or was, under review: then it brought no credit that could be taken. */
  private async applyToUncredited(reported: ProviderDispute): Promise<boolean> {
    const { id, paymentIntentId, movements } = reported;
    const review = paymentIntentId === null ? null : await this.reviews.findByPaymentIntent(paymentIntentId);
    if (review === null || review.status === 'credited') return false;
    const isTaken = isWithBank(reported);
    if (movements.length > 0 && (await this.reviews.noteDispute(review, id, isTaken)))
      this.logger.error(
        {
          event: isTaken ? 'payment_review.disputed' : 'payment_review.dispute_reinstated',
          review: review.id,
          dispute: id,
        },
        isTaken
          ? 'A bank took a payment under review; an operator has to decide again'
          : 'A bank gave a payment under review back; an operator has to decide again',
      );
    return true;
  }

  /**
   * Handles a dispute in another currency of which Stripe has not said what it takes in US dollars. Stripe says it when the money
   * leaves a balance in US dollars, and the next event then books it. The doctor names what leaves a balance in another currency.
   */
  private async settleUnknownAmount({ accountId, id }: TopUp, reported: ProviderDispute): Promise<void> {
    this.logger.error(
      { event: 'dispute.amount_unknown', dispute: reported.id, topUp: id, currency: reported.currency },
      'A payment is disputed in another currency, and what the dispute takes in US dollars is not known yet',
    );
    if (isDecidedForUs(reported.status)) return this.unfreeze({ accountId, id: reported.id });
    if (isThreat(reported)) await this.freezeOnce(accountId, toDisputeFreeze(reported.id));
  }

  /** An issuer suspects fraud; a dispute usually follows. Nothing more is spent until an operator has checked the account. */
  private async applyWarning(warningId: string): Promise<void> {
    const warning = await this.gateway.retrieveFraudWarning(warningId);
    const topUp = warning === null ? null : await this.topUps.findByPayment(warning);
    if (warning === null || topUp === null) return;
    this.logger.error(
      { event: 'top_up.fraud_warning', topUp: topUp.id, warning: warning.id, fraudType: warning.fraudType },
      'An issuer suspects that a payment is fraud; refund it, or unfreeze the wallet',
    );
    if (!warning.actionable) return;
    await this.freezeOnce(topUp.accountId, {
      source: 'early_fraud_warning',
      sourceId: warning.id,
      reason: `early fraud warning ${warning.id}`,
      id: newId('freeze'),
      statusChangeId: newId('statusChange'),
    });
  }

  /**
   * Writes off the debt that the dispute has left by now; how much is decided under the wallet's lock. Returns how much it is or,
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

  /** Freezes the wallet once for each dispute: what an operator unfreezes stays unfrozen. */
  private async freezeFor(dispute: Dispute, reported: ProviderDispute): Promise<void> {
    if (dispute.frozenAt !== null || !isThreat(reported)) return;
    await this.freezeOnce(dispute.accountId, toDisputeFreeze(dispute.id));
    await this.disputes.note(dispute, { frozenAt: this.now() });
  }

  /** What an operator has lifted stays lifted, whatever else is reported of the same dispute or warning. */
  private async freezeOnce(accountId: string, freeze: NewFreeze): Promise<void> {
    if (await this.wallets.wasFrozenBy(accountId, freeze)) return;
    await this.engine.execute({ type: 'freeze', accountId, actor: 'stripe', freeze });
  }

  private async applyStatus(dispute: Dispute, reported: ProviderDispute): Promise<void> {
    const isNewEvent = isLater(dispute.status, reported.status);
    const isBack = !isWithBank(reported) && reported.movements.length > 2;
    const isOver = isDecidedForUs(reported.status) && (isNewEvent || isBack) && !isTakenAgain(reported);
    // The status is written after it, so that a run after a crash unfreezes. A wallet whose money was taken again stays frozen.
    if (isOver) await this.unfreeze(dispute);
    const status = await this.disputes.noteStatus(dispute, reported.status);
    // A process that has read an earlier status may have frozen the wallet in between. One that does so later finds this status.
    if (isOver) await this.unfreeze(dispute);
    else if (isDecidedForUs(status) && isLater(reported.status, status)) await this.unfreezeLate(dispute);
  }

  /**
   * A process that was paused after it read the dispute freezes the wallet for what is over, when another one has handled the decision
   * since and had nothing to unfreeze. No later event of Stripe would unfreeze it.
   */
  private async unfreezeLate(dispute: Dispute): Promise<void> {
    const latest = await this.gateway.retrieveDispute(dispute.id);
    if (latest !== null && isDecidedForUs(latest.status) && !isWithBank(latest)) await this.unfreeze(dispute);
  }

  /** Removes the dispute's own reason and no other. The last reason stays while the wallet owes, because an operator decides then. */
  private async unfreeze({ accountId, id }: Pick<Dispute, 'accountId' | 'id'>): Promise<void> {
    try {
      const lifts = { source: 'dispute', sourceId: id } as const;
      const reason = `dispute ${id} was decided for us`;
      const change = { lifts, reason, statusChangeId: newId('statusChange') };
      await this.engine.execute({ type: 'unfreeze', accountId, actor: 'stripe', ...change });
    } catch (error) {
      if (!(error instanceof WalletInDebtError)) throw error;
      this.logger.warn(
        { event: 'wallet.stays_frozen', account: accountId },
        'A wallet stays frozen because it owes',
      );
    }
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}

function isThreat(reported: ProviderDispute): boolean {
  return (isOpen(reported.status) && !isHarmless(reported.status)) || isWithBank(reported);
}
