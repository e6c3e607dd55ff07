import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import {
  METADATA_REFUND,
  PAYMENT_GATEWAY,
  type PaymentGateway,
  type ProviderRefund,
} from '../stripe/payment-gateway.js';
import { StripeEventHandlers } from '../stripe/stripe-inbox.service.js';
import { UncreditedRefundsService } from '../payment-reviews/uncredited-refunds.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { partsOfTaken, type PartsAndExcess } from '../../money/wallets/rules/payment-parts.js';
import { RefundSettlement } from './refund-settlement.service.js';
import { newRefund, type Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';
import { paidFor } from './returned-parts.js';

const REFUND_EVENTS = ['refund.created', 'refund.updated', 'refund.failed'] as const;

/** News of refunds: of ours, and of those that somebody made in Stripe's dashboard. */
@Injectable()
export class RefundEvents {
  private readonly logger = new Logger(RefundEvents.name);

  constructor(
    handlers: StripeEventHandlers,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly topUps: TopUpRepository,
    private readonly refunds: RefundRepository,
    private readonly settlement: RefundSettlement,
    private readonly returns: UncreditedRefundsService,
  ) {
    handlers.register(REFUND_EVENTS, ({ objectId }) => this.settle(objectId));
  }

  /** Reads the refund from Stripe and acts on what it says now. Safe to repeat at any time and in any order. */
  async settle(stripeRefundId: string): Promise<void> {
    const made = await this.gateway.retrieveRefund(stripeRefundId);
    if (made === null) {
      this.logger.warn(`Stripe knows no refund ${stripeRefundId}.`);
      return;
    }
    // What was never credited has no credit to take back.
    if (await this.returns.apply(made)) return;
    const refund = (await this.findRow(made)) ?? (await this.adopt(made));
    if (refund !== null) await this.follow(refund, made);
  }

  private async findRow({ id, metadata }: ProviderRefund): Promise<Refund | null> {
    const named = metadata[METADATA_REFUND];
    const ours = named === undefined ? null : await this.refunds.findAnywhere(named);
    if (named !== undefined && ours === null)
      this.logger.error(`${id} was made for the refund ${named}, which is unknown here.`);
    return ours ?? (await this.refunds.findByStripeId(id));
  }

  private async follow(refund: Refund, made: ProviderRefund): Promise<void> {
    if (made.takenCents !== refund.amountCents) {
      // Ours is fixed and asked for by its own key, so this is never ours; nothing may be guessed.
      this.logger.error(`${made.id} contradicts ${refund.id}: ${made.amountCents} ${made.currency}.`);
      return;
    }
    // Of ours the credit is out of the wallet by now, and nothing moves again. Of an adopted one it may not be,
    // however often this was begun before.
    if (refund.status === 'created' || refund.status === 'needs_review')
      await this.settlement.reserve(refund);
    await this.settlement.follow(refund, made);
  }

  /**
   * The row of a refund that was not asked for here, or whose row is lost, as after the database was restored from a backup;
   * null when it is none of ours.
   */
  private async adopt(made: ProviderRefund): Promise<Refund | null> {
    if (made.status === 'failed' || made.status === 'canceled') return null;
    const topUp = await this.topUps.findByPayment(made);
    if (topUp === null) return null;
    const { takenCents } = made;
    const adopted = await this.refunds.insert(topUp, (returned) =>
      takenCents === null
        ? null
        : this.toRefund(topUp, made, partsOfTaken(takenCents, paidFor(topUp), returned)),
    );
    if (adopted === 'taken') return this.refunds.findByStripeId(made.id);
    // The doctor names what leaves our balance for it, unless a later event says how much that is in US dollars.
    if (adopted === null)
      this.logger.error(
        `${made.id} refunds ${topUp.id} in ${made.currency}; what it takes in usd is not known.`,
      );
    else if (adopted.excessMicros > 0n) {
      this.logger.error(
        `${made.id} refunds ${adopted.excessMicros} micros beyond what was left of ${topUp.id}.`,
      );
    }
    return adopted;
  }

  private toRefund(topUp: TopUp, made: ProviderRefund, parts: PartsAndExcess): Refund {
    const origin = {
      paymentIntentId: made.paymentIntentId ?? '',
      reason: "made in Stripe's dashboard",
      stripeRefundId: made.id,
      idempotencyKey: null,
      fingerprint: made.id,
      createdBy: 'stripe',
    };
    return newRefund(topUp, parts, origin, new Date(this.clock.nowMs()), parts.excessCents);
  }
}
