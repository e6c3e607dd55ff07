import { Inject, Injectable } from '@nestjs/common';
import { OFF_SESSION_PAYMENTS, type OffSessionPayments } from '../stripe/off-session-payments.js';
import { StripeEventHandlers } from '../stripe/stripe-inbox.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { TopUpSettlementService } from '../settlement/top-up-settlement.service.js';
import { AutoTopUpSettlementService } from './auto-top-up-settlement.service.js';
import { SavedCardsService } from './saved-cards.service.js';

const INTENT_EVENTS = [
  'payment_intent.succeeded',
  'payment_intent.payment_failed',
  'payment_intent.requires_action',
  'payment_intent.processing',
  'payment_intent.canceled',
] as const;
const CARD_EVENTS = [
  'payment_method.automatically_updated',
  'payment_method.detached',
  'payment_method.updated',
] as const;

/** Handles Stripe's events of payments without the customer, and of saved cards. */
@Injectable()
export class AutoTopUpEvents {
  constructor(
    handlers: StripeEventHandlers,
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    private readonly topUps: TopUpRepository,
    private readonly settlement: AutoTopUpSettlementService,
    private readonly checkouts: TopUpSettlementService,
    private readonly cards: SavedCardsService,
  ) {
    handlers.register(INTENT_EVENTS, ({ objectId }) => this.settle(objectId));
    handlers.register(CARD_EVENTS, ({ objectId }) => this.cards.refresh(objectId));
    handlers.register(['customer.deleted'], ({ objectId }) => this.cards.refreshAllOfCustomer(objectId));
  }

  /** A payment page is settled by the events of its session; here only the card that it saved is stored. */
  async settle(paymentIntentId: string): Promise<void> {
    const intent = await this.payments.retrieve(paymentIntentId);
    const topUp = intent?.topUpId == null ? null : await this.topUps.findAnywhere(intent.topUpId);
    if (intent === null || topUp === null) return;
    if (topUp.kind === 'auto') await this.settlement.settle(topUp, intent);
    else if (topUp.saveCard && intent.status === 'succeeded') {
      await this.cards.store(await this.settleFirst(topUp), intent);
    }
  }

  /** The wallet is checked after a card is stored. It must hold the credit of this payment by then, or the card is charged as well. */
  private async settleFirst(topUp: TopUp): Promise<TopUp> {
    if (topUp.status === 'paid' || topUp.checkoutSessionId === null) return topUp;
    await this.checkouts.settle(topUp.checkoutSessionId);
    return (await this.topUps.findAnywhere(topUp.id)) ?? topUp;
  }
}
