import { Inject, Injectable, Logger } from '@nestjs/common';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../../stripe/payment-gateway.js';
import { PaymentRequestRefusedError } from '../../stripe/payments.errors.js';
import { StripeCharges } from '../../stripe/stripe-charges.js';
import { StripeEventHandlers } from '../../stripe/stripe-inbox.service.js';
import { TopUpRepository } from '../top-up.repository.js';
import type { TopUp } from '../top-up.js';
import type { LimitScope } from '../top-up.errors.js';
import { TopUpLimitsRepository } from './top-up-limits.repository.js';
import { TopUpLimitsService } from './top-up-limits.service.js';

/** The limits allow no more open pages within an hour. Any page that is left is closed after the next refused card. */
const PAGES_CLOSED_MAX = 100;

/**
 * Counts refused cards. A caller who tries many of them, for instance stolen ones to learn which still work, gets no new
 * payment pages, and the open pages, where they could try more cards, are closed.
 */
@Injectable()
export class PaymentFailuresService {
  private readonly logger = new Logger(PaymentFailuresService.name);

  constructor(
    handlers: StripeEventHandlers,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly charges: StripeCharges,
    private readonly topUps: TopUpRepository,
    private readonly limits: TopUpLimitsService,
    private readonly repository: TopUpLimitsRepository,
  ) {
    handlers.register(['charge.failed'], ({ objectId }) => this.record(objectId));
  }

  /**
   * Reads the charge from Stripe and counts it once if it was refused and is one of ours. Throws
   * `PaymentsUnavailableError`, and what the database throws; then it has to run again.
   */
  async record(chargeId: string): Promise<void> {
    const charge = await this.charges.retrieve(chargeId);
    if (charge?.status !== 'failed' || charge.topUpId === null) return;
    const topUp = await this.topUps.findAnywhere(charge.topUpId);
    if (topUp === null || topUp.livemode !== charge.livemode) return;
    const { accountId, clientAddress } = topUp;
    const failure = {
      accountId,
      chargeId: charge.id,
      topUpId: topUp.id,
      clientAddress,
      reason: charge.failureReason,
      failedAt: charge.attemptedAt,
    };
    await this.repository.addFailure(failure);
    const scope = await this.limits.findFailureLimitReached(topUp);
    if (scope !== null) await this.closePages(topUp, scope);
  }

  private async closePages(topUp: TopUp, scope: LimitScope): Promise<void> {
    const open = await this.repository.findOpenPages(topUp, scope, PAGES_CLOSED_MAX);
    this.logger.warn(
      { event: 'payment_failures.limit_reached', topUp: topUp.id, scope, pages: open.length },
      'Too many cards were refused, so the open payment pages are closed',
    );
    for (const { checkoutSessionId } of open) {
      if (checkoutSessionId !== null) await this.close(checkoutSessionId);
    }
  }

  private async close(checkoutSessionId: string): Promise<void> {
    try {
      // Stripe then sends the same event as for a page that expires.
      await this.gateway.expireCheckoutSession(checkoutSessionId);
    } catch (error) {
      // Stripe refuses this when the page was paid or has expired in the meantime.
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
    }
  }
}
