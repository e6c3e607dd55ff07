import { Inject, Injectable, Logger } from '@nestjs/common';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { OFF_SESSION_PAYMENTS, type OffSessionPayments } from '../stripe/off-session-payments.js';
import {
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
  AmountOutOfRangeError,
  CheckoutRefusedError,
} from '../top-ups/top-up.errors.js';
import { TopUpCheckoutService } from '../top-ups/top-up-checkout.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { AutoTopUpSwitchService } from './auto-top-up-switch.service.js';
import type { AutoTopUp } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { SavedCardsService } from './saved-cards.service.js';

/** How long after the page expires it is checked: Stripe has reported its end by then. */
const CHECK_AFTER_EXPIRY_MS = 10 * 60_000;

/** Refusals of a payment page that a second attempt would only repeat. */
const PERMANENT_REFUSALS = [
  AmountOutOfRangeError,
  CheckoutRefusedError,
  FirstTopUpLimitError,
  TooManyFailedPaymentsError,
  TooManyTopUpsError,
];

/** Opens a payment page for an amount that could not be charged because the bank wants the customer to confirm. */
@Injectable()
export class AutoTopUpRecoveryService {
  private readonly logger = new Logger(AutoTopUpRecoveryService.name);

  constructor(
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly checkout: TopUpCheckoutService,
    private readonly cards: SavedCardsService,
    private readonly switches: AutoTopUpSwitchService,
  ) {}

  /** Opens the page, or checks whether it was paid. Throws `PaymentsUnavailableError`; then it has to run again. */
  async continueRecovery(current: AutoTopUp): Promise<void> {
    const { accountId, livemode, failedTopUpId, actionTopUpId } = current;
    if (failedTopUpId === null) return;
    const failed = await this.topUps.find(accountId, failedTopUpId);
    if (failed === null) throw new Error(`top-up ${failedTopUpId} was not found`);
    if (actionTopUpId === null) return this.openPage(current, failed);
    const page = await this.topUps.find(accountId, actionTopUpId);
    if (page?.status === 'paid') return this.resumeCharges(page);
    if (page !== null && page.status !== 'expired' && page.status !== 'failed') {
      const endMs = Math.max(page.expiresAt.getTime(), await this.clock.nowMs()) + CHECK_AFTER_EXPIRY_MS;
      return this.switches.recheck(null, accountId, new Date(endMs));
    }
    await this.transactions.run(async (tx) => {
      const now = await this.repository.lock(tx, accountId, livemode);
      if (now?.status !== 'action_required' || now.actionTopUpId !== actionTopUpId) return;
      await this.switches.turnOff(tx, now, 'authentication_required', failed);
    });
  }

  private async openPage(current: AutoTopUp, failed: TopUp): Promise<void> {
    const { accountId, livemode } = current;
    const page = await this.startCheckout(current, failed);
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
      const runAt = new Date(page.expiresAt.getTime() + CHECK_AFTER_EXPIRY_MS);
      await this.switches.recheck(tx, accountId, runAt);
    });
  }

  /** Returns the same page on every call for one failed charge; null when no page can be opened. */
  private async startCheckout(current: AutoTopUp, failed: TopUp): Promise<TopUp | null> {
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
        // A client's key cannot contain a space, so no client can use this one.
        idempotencyKey: `auto top-up ${failed.id}`,
        clientAddress: null,
      });
      return topUp.status === 'failed' ? null : topUp;
    } catch (error) {
      if (!PERMANENT_REFUSALS.some((refusal) => error instanceof refusal)) throw error;
      this.logger.warn(
        { event: 'auto_top_up.page_refused', topUp: failed.id, err: error },
        'No payment page can be opened for a failed auto top-up; it is switched off',
      );
      return null;
    }
  }

  /** The customer paid. Their card is stored here too, in case the event that reports it never arrived. */
  private async resumeCharges(page: TopUp): Promise<void> {
    const intent = page.paymentIntentId === null ? null : await this.payments.retrieve(page.paymentIntentId);
    if (intent !== null) await this.cards.store(page, intent);
    await this.transactions.run(async (tx) => {
      const now = await this.repository.lock(tx, page.accountId, page.livemode);
      // A bank transfer leaves no new card, so the old one is charged again.
      if (now?.actionTopUpId === page.id) await this.switches.resume(tx, now, now.cardId);
    });
  }
}
