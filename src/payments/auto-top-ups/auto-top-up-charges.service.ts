import { Inject, Injectable, Logger } from '@nestjs/common';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { isUniqueViolation } from '../../platform/database/constraints.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import {
  OFF_SESSION_PAYMENTS,
  type OffSessionPayments,
  type PaymentIntent,
} from '../stripe/off-session-payments.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { AutoTopUpAccountsService } from './auto-top-up-accounts.service.js';
import { AutoTopUpRecoveryService } from './auto-top-up-recovery.service.js';
import { AutoTopUpSettlementService } from './auto-top-up-settlement.service.js';
import { AutoTopUpStartsService } from './auto-top-up-starts.service.js';
import { AutoTopUpSwitchService } from './auto-top-up-switch.service.js';
import { chargeFingerprint, type AutoTopUp } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { SavedCardsService } from './saved-cards.service.js';

/** After this long no earlier request is still in progress at Stripe: a payment that it made is on Stripe's list. */
const LOST_AFTER_MS = 15 * 60_000;

/**
 * Checks one account: it continues the charge that is under way, or else charges the card if that is due. Any process
 * can repeat every step after a crash: the row is written before Stripe is asked, the time of the request is stored
 * before it is sent, and the request always has the same idempotency key.
 */
@Injectable()
export class AutoTopUpChargesService {
  private readonly logger = new Logger(AutoTopUpChargesService.name);

  constructor(
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly accounts: AutoTopUpAccountsService,
    private readonly starts: AutoTopUpStartsService,
    private readonly settlement: AutoTopUpSettlementService,
    private readonly recovery: AutoTopUpRecoveryService,
    private readonly cards: SavedCardsService,
    private readonly switches: AutoTopUpSwitchService,
  ) {}

  /** Throws `PaymentsUnavailableError`, and what the engine and the database throw; then it has to run again. */
  async check(accountId: string): Promise<void> {
    const { livemode } = this.gateway;
    const open = await this.repository.openCharge(accountId, livemode);
    if (open !== null) return this.continueCharge(open);
    const current = await this.repository.find(accountId, livemode);
    if (current?.status === 'action_required') return this.recovery.continueRecovery(current);
    if (current?.status !== 'on') return;
    const topUp = await this.start(current);
    if (topUp !== null) await this.continueCharge(topUp);
  }

  private async start(current: AutoTopUp): Promise<TopUp | null> {
    try {
      return await this.starts.start(current, await this.accounts.read(current.accountId));
    } catch (error) {
      // Another process was faster, or an earlier charge waits for an operator's review.
      if (isUniqueViolation(error, 'top_ups_auto_in_flight_key')) return null;
      throw error;
    }
  }

  private async continueCharge(topUp: TopUp): Promise<void> {
    if (topUp.dispatchedAt === null) {
      const state = await this.accounts.read(topUp.accountId);
      const dispatchedAt = await this.dispatch(topUp, state.frozen || state.disputed);
      if (dispatchedAt !== null) await this.charge({ ...topUp, dispatchedAt });
      return;
    }
    const intent = await this.findIntent(topUp, topUp.dispatchedAt);
    if (intent !== null) return this.settlement.settle(topUp, intent);
    const current = await this.repository.find(topUp.accountId, topUp.livemode);
    const nowMs = await this.clock.nowMs();
    const isStillWanted = current?.status === 'on' && topUp.fingerprint === chargeFingerprint(current);
    // The request has the same key as before, so it cannot charge twice even if the first one did arrive.
    if (isStillWanted && nowMs < topUp.expiresAt.getTime()) return this.charge(topUp);
    if (nowMs < topUp.dispatchedAt.getTime() + LOST_AFTER_MS) {
      throw new Error(`the request for ${topUp.id} was sent and may still arrive at Stripe`);
    }
    await this.topUps.move(topUp, 'failed', { failureCode: 'not_charged' });
    await this.switches.recheck(null, topUp.accountId);
  }

  /**
   * The point of no return. Under the lock that every change of settings takes as well, this checks once more that the
   * charge is wanted, and stores that its request is sent. Returns null when it must not be sent.
   *
   * When the account switches off after this commit, that is too late for this one charge.
   */
  private async dispatch(topUp: TopUp, blocked: boolean): Promise<Date | null> {
    const { accountId, livemode } = topUp;
    return this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, livemode);
      if (blocked || current?.status !== 'on' || topUp.fingerprint !== chargeFingerprint(current)) {
        await this.topUps.move(topUp, 'failed', { failureCode: 'withdrawn' }, tx);
        return null;
      }
      const dispatchedAt = new Date(await this.clock.nowMs(tx));
      return (await this.repository.markDispatched(tx, topUp, dispatchedAt)) ? dispatchedAt : null;
    });
  }

  private async charge(topUp: TopUp): Promise<void> {
    const { id, accountId, customerId, paymentMethodId, chargeCents } = topUp;
    if (customerId === null || paymentMethodId === null) throw new Error(`${id} names no card`);
    const request = {
      topUpId: id,
      accountId,
      customerId,
      paymentMethodId,
      amountCents: chargeCents,
      description: 'API credit, auto top-up',
    };
    let intent: PaymentIntent;
    try {
      intent = await this.payments.charge(request, `top_up:${id}:intent`);
    } catch (error) {
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
      this.logger.warn(
        { event: 'auto_top_up.charge_refused', topUp: id, err: error },
        'Stripe refuses to charge the saved card; nothing was charged',
      );
      await this.cards.refresh(paymentMethodId);
      return this.settlement.refuse(topUp);
    }
    await this.settlement.settle(topUp, intent);
  }

  /** Finds the payment of a request that was sent: by the id that Stripe gave it, or by our id in its metadata. */
  private findIntent(topUp: TopUp, dispatchedAt: Date): Promise<PaymentIntent | null> {
    if (topUp.paymentIntentId !== null) return this.payments.retrieve(topUp.paymentIntentId);
    return this.payments.find(topUp.customerId ?? '', topUp.id, dispatchedAt.getTime());
  }
}
