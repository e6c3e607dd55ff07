import { Injectable } from '@nestjs/common';
import { StripeEventHandlers } from '../stripe/stripe-event-handlers.js';
import { TopUpSettlement } from './top-up-settlement.service.js';

const SESSION_EVENTS = [
  'checkout.session.completed',
  'checkout.session.async_payment_succeeded',
  'checkout.session.async_payment_failed',
  'checkout.session.expired',
] as const;

/** Handles the events of payment pages. Each of them has the session read from Stripe and settled. */
@Injectable()
export class TopUpEvents {
  constructor(handlers: StripeEventHandlers, settlement: TopUpSettlement) {
    handlers.register(SESSION_EVENTS, ({ objectId }) => settlement.settle(objectId));
  }
}
