import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from './payment-gateway.js';
import { InvalidEventError, InvalidSignatureError, PaymentsUnavailableError } from './payments.errors.js';
import { readStripeEvent, type StripeEvent } from './stripe-event.js';
import { StripeInbox } from './stripe-inbox.service.js';

/** Stores events that Stripe signed, and logs why any other request is refused. */
@Injectable()
export class StripeWebhook {
  private readonly logger = new Logger(StripeWebhook.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly inbox: StripeInbox,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Resolves when the event is durable. Throws `InvalidSignatureError` or `InvalidEventError`; then nothing is stored. */
  async receive(rawBody: Buffer | undefined, signature: string | undefined): Promise<void> {
    const event = this.read(rawBody, signature);
    await this.inbox.receive(event);
  }

  private read(rawBody: Buffer | undefined, signature: string | undefined): StripeEvent {
    const { stripe } = this.settings;
    if (stripe === null) throw new PaymentsUnavailableError(new Error('Stripe is not configured'));
    const expected = { webhookSecret: stripe.webhookSecret, livemode: this.gateway.livemode };
    try {
      return readStripeEvent({ rawBody, signature, nowMs: this.clock.nowMs() }, expected);
    } catch (error) {
      if (error instanceof InvalidSignatureError)
        this.logger.warn(
          { event: 'stripe_webhook.signature_refused', reason: error.reason },
          'A Stripe webhook without a valid signature was refused',
        );
      if (error instanceof InvalidEventError)
        this.logger.error(
          { event: 'stripe_webhook.event_refused', err: error },
          'A signed Stripe webhook is not an event for this service and was refused',
        );
      throw error;
    }
  }
}
