import { Inject, Injectable, Logger } from '@nestjs/common';
import { DatabaseClock } from '../../platform/database/database-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { OFF_SESSION_PAYMENTS, type OffSessionPayments } from '../stripe/off-session-payments.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
} from '../top-ups/limits/limit.errors.js';
import { AmountOutOfRangeError, CheckoutRefusedError } from '../top-ups/top-up.errors.js';
import { TopUpCheckout } from '../top-ups/top-up-checkout.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { AutoTopUpSwitch } from './auto-top-up-switch.service.js';
import type { AutoTopUp } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { SavedCards } from './saved-cards.service.js';

/** After the page's own end: Stripe's word on it has come by then. */
const LOOK_AFTER_EXPIRY_MS = 10 * 60_000;

/** Of these, asking again changes nothing. */
const NO_PAGE = [
  AmountOutOfRangeError,
  CheckoutRefusedError,
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
];

/** Brings the customer back when her bank wants her there: a payment page for the amount that could not be charged. */
@Injectable()
export class AutoTopUpRecovery {
  private readonly logger = new Logger(AutoTopUpRecovery.name);

  constructor(
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly checkout: TopUpCheckout,
    private readonly cards: SavedCards,
    private readonly switches: AutoTopUpSwitch,
  ) {}

  /** Opens the page, or looks what became of it. Throws `PaymentsUnavailableError`; then it has to run again. */
  async carryOn(current: AutoTopUp): Promise<void> {
    const { accountId, livemode, failedTopUpId, actionTopUpId } = current;
    if (failedTopUpId === null) return;
    const failed = await this.topUps.find(accountId, failedTopUpId);
    if (failed === null) throw new Error(`${failedTopUpId} is not there`);
    if (actionTopUpId === null) return this.open(current, failed);
    const page = await this.topUps.find(accountId, actionTopUpId);
    if (page?.status === 'paid') return this.comeBack(page);
    if (page !== null && page.status !== 'expired' && page.status !== 'failed') {
      const endMs = Math.max(page.expiresAt.getTime(), await this.clock.nowMs()) + LOOK_AFTER_EXPIRY_MS;
      return this.switches.recheck(null, accountId, new Date(endMs));
    }
    await this.transactions.run(async (tx) => {
      const now = await this.repository.lock(tx, accountId, livemode);
      if (now?.status !== 'action_required' || now.actionTopUpId !== actionTopUpId) return;
      await this.switches.turnOff(tx, now, 'authentication_required', failed);
    });
  }

  private async open(current: AutoTopUp, failed: TopUp): Promise<void> {
    const { accountId, livemode } = current;
    const page = await this.pageFor(current, failed);
    await this.transactions.run(async (tx) => {
      const now = await this.repository.lock(tx, accountId, livemode);
      if (now?.failedTopUpId !== failed.id || now.actionTopUpId !== null) return;
      if (page === null) {
        await this.switches.reportFailure(tx, now, { topUp: failed, actionUrl: null, retryAt: null });
        return this.switches.turnOff(tx, now, 'authentication_required', failed);
      }
      await this.repository.update(tx, now, { actionTopUpId: page.id });
      await this.switches.reportFailure(tx, now, {
        topUp: failed,
        actionUrl: page.checkoutUrl,
        retryAt: null,
      });
      const runAt = new Date(page.expiresAt.getTime() + LOOK_AFTER_EXPIRY_MS);
      await this.switches.recheck(tx, accountId, runAt);
    });
  }

  /** The same page however often it is asked for; null when none can be opened. */
  private async pageFor(current: AutoTopUp, failed: TopUp): Promise<TopUp | null> {
    const { accountId, livemode } = current;
    const consent = await this.repository.lastConsent(accountId, livemode);
    try {
      const { topUp } = await this.checkout.start({
        accountId,
        actor: consent?.agreedBy ?? failed.createdBy,
        amountCents: Number(current.amountCents),
        saveCard: true,
        successUrl: null,
        cancelUrl: null,
        // A client's key has no space in it, so none can be this one.
        idempotencyKey: `auto top-up ${failed.id}`,
        clientAddress: null,
      });
      return topUp.status === 'failed' ? null : topUp;
    } catch (error) {
      if (!NO_PAGE.some((refusal) => error instanceof refusal)) throw error;
      this.logger.warn(`No payment page can be opened for ${failed.id}: ${(error as Error).message}`);
      return null;
    }
  }

  /** She paid. Her card is read once more here, in case the event that tells of it never came. */
  private async comeBack(page: TopUp): Promise<void> {
    const intent = page.paymentIntentId === null ? null : await this.payments.retrieve(page.paymentIntentId);
    if (intent !== null) await this.cards.remember(page, intent);
    await this.transactions.run(async (tx) => {
      const now = await this.repository.lock(tx, page.accountId, page.livemode);
      // Without a card that can be charged (she paid by a bank transfer), the old one is tried.
      if (now?.actionTopUpId === page.id) await this.switches.resume(tx, now, now.cardId);
    });
  }
}
