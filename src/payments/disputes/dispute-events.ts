import { Injectable } from '@nestjs/common';
import { StripeEventHandlers } from '../stripe/stripe-inbox.service.js';
import { DisputeSettlement } from './dispute-settlement.service.js';

const DISPUTE_EVENTS = [
  'charge.dispute.created',
  'charge.dispute.updated',
  'charge.dispute.funds_withdrawn',
  'charge.dispute.funds_reinstated',
  'charge.dispute.closed',
] as const;

/** All of them ask the same question: where does the dispute, and its money, stand now? */
@Injectable()
export class DisputeEvents {
  constructor(handlers: StripeEventHandlers, settlement: DisputeSettlement) {
    handlers.register(DISPUTE_EVENTS, ({ objectId }) => settlement.settle(objectId));
    handlers.register(['radar.early_fraud_warning.created'], ({ objectId }) => settlement.heed(objectId));
  }
}
