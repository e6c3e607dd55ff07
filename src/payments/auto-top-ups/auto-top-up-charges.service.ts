import { Inject, Injectable, Logger } from '@nestjs/common';
import { DatabaseClock } from '../../platform/database/database-clock.js';
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
import { AutoTopUpAccounts } from './auto-top-up-accounts.service.js';
import { AutoTopUpRecovery } from './auto-top-up-recovery.service.js';
import { AutoTopUpSettlement } from './auto-top-up-settlement.service.js';
import { AutoTopUpStarts } from './auto-top-up-starts.service.js';
import { AutoTopUpSwitch } from './auto-top-up-switch.service.js';
import { fingerprintOf, type AutoTopUp } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { SavedCards } from './saved-cards.service.js';

/** A request that Stripe was still working on would have ended by now; what it did is on its list. */
const LOST_AFTER_MS = 15 * 60_000;

/**
 * One look at one account: carries on what is under way, otherwise charges the card if that is due. Every step can
 * be cut off and repeated by any process: the row is written before Stripe is asked, the time of asking before the
 * request goes out, and the request has one key for ever.
 */
@Injectable()
export class AutoTopUpCharges {
  private readonly logger = new Logger(AutoTopUpCharges.name);

  constructor(
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly accounts: AutoTopUpAccounts,
    private readonly starts: AutoTopUpStarts,
    private readonly settlement: AutoTopUpSettlement,
    private readonly recovery: AutoTopUpRecovery,
    private readonly cards: SavedCards,
    private readonly switches: AutoTopUpSwitch,
  ) {}

  /** Throws `PaymentsUnavailableError`, and what the engine and the database throw; then it has to run again. */
  async look(accountId: string): Promise<void> {
    const { livemode } = this.gateway;
    const open = await this.repository.openCharge(accountId, livemode);
    if (open !== null) return this.carryOn(open);
    const current = await this.repository.find(accountId, livemode);
    if (current?.status === 'action_required') return this.recovery.carryOn(current);
    if (current?.status !== 'on') return;
    const topUp = await this.start(current);
    if (topUp !== null) await this.carryOn(topUp);
  }

  private async start(current: AutoTopUp): Promise<TopUp | null> {
    try {
      return await this.starts.start(current, await this.accounts.read(current.accountId));
    } catch (error) {
      // Another process was faster, or an earlier charge waits for a person.
      if (isUniqueViolation(error, 'top_ups_auto_in_flight_key')) return null;
      throw error;
    }
  }

  private async carryOn(topUp: TopUp): Promise<void> {
    if (topUp.dispatchedAt === null) {
      const state = await this.accounts.read(topUp.accountId);
      const dispatchedAt = await this.dispatch(topUp, state.frozen || state.disputed);
      if (dispatchedAt !== null) await this.charge({ ...topUp, dispatchedAt });
      return;
    }
    const known = await this.find(topUp, topUp.dispatchedAt);
    if (known !== null) return this.settlement.settle(topUp, known);
    const current = await this.repository.find(topUp.accountId, topUp.livemode);
    const nowMs = await this.clock.nowMs();
    const isStillWanted = current?.status === 'on' && topUp.fingerprint === fingerprintOf(current);
    // The same request under the same key: should it have arrived after all, this is the same charge.
    if (isStillWanted && nowMs < topUp.expiresAt.getTime()) return this.charge(topUp);
    if (nowMs < topUp.dispatchedAt.getTime() + LOST_AFTER_MS) {
      throw new Error(`${topUp.id} went out, and may still arrive at Stripe`);
    }
    await this.topUps.move(topUp, 'failed', { failureCode: 'not_charged' });
    await this.switches.recheck(null, topUp.accountId);
  }

  /**
   * The point of no return: under the lock that every change of settings takes as well, it is checked once more that
   * the charge is wanted, and written down that it goes out. Null when it does not.
   *
   * What cannot be recalled: a switch to off that is committed after this is too late for this one charge.
   */
  private async dispatch(topUp: TopUp, blocked: boolean): Promise<Date | null> {
    const { accountId, livemode } = topUp;
    return this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, livemode);
      if (blocked || current?.status !== 'on' || topUp.fingerprint !== fingerprintOf(current)) {
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
      this.logger.warn(`Stripe does not charge the card for ${id}: ${error.message}`);
      await this.cards.refresh(paymentMethodId);
      return this.settlement.refuse(topUp);
    }
    await this.settlement.settle(topUp, intent);
  }

  /** What became of a charge that went out, by its name or by our own id on it. */
  private find(topUp: TopUp, dispatchedAt: Date): Promise<PaymentIntent | null> {
    if (topUp.paymentIntentId !== null) return this.payments.retrieve(topUp.paymentIntentId);
    return this.payments.find(topUp.customerId ?? '', topUp.id, dispatchedAt.getTime());
  }
}
