import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { formatMicros } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import {
  METADATA_REFUND,
  PAYMENT_GATEWAY,
  type PaymentGateway,
  type ProviderRefund,
} from '../stripe/payment-gateway.js';
import { PaymentsUnavailableError } from '../stripe/payments.errors.js';
import { StripeEventHandlers } from '../stripe/stripe-inbox.service.js';
import { UncreditedRefundsService } from '../payment-reviews/uncredited-refunds.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { partsOfTaken, type PartsAndExcess } from '../../money/wallets/rules/payment-parts.js';
import { RefundSettlementService } from './refund-settlement.service.js';
import { newRefund, type Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';
import { paidFor } from './returned-money.js';

const REFUND_EVENTS = ['refund.created', 'refund.updated', 'refund.failed'] as const;

/** Handles Stripe's events of refunds: of ours, and of those that were created in Stripe's dashboard. */
@Injectable()
export class RefundEvents {
  private readonly logger = new Logger(RefundEvents.name);

  constructor(
    handlers: StripeEventHandlers,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly topUps: TopUpRepository,
    private readonly refunds: RefundRepository,
    private readonly settlement: RefundSettlementService,
    private readonly returns: UncreditedRefundsService,
  ) {
    handlers.register(REFUND_EVENTS, ({ objectId }) => this.settle(objectId));
  }

  /** Reads the refund from Stripe and applies its present state. It is safe to repeat at any time and in any order. */
  async settle(stripeRefundId: string): Promise<void> {
    const reported = await this.gateway.retrieveRefund(stripeRefundId);
    if (reported === null) {
      this.logger.warn({ event: 'refund.missing', refund: stripeRefundId }, 'Stripe does not know a refund');
      return;
    }
    // A payment that was never credited has no credit to reverse.
    if (await this.returns.apply(reported)) return;
    const known = await this.findRow(reported);
    if (known !== null) return this.apply(known, reported);
    const adopted = await this.adopt(reported);
    if (adopted === null) return;
    // It may have failed since it was read, and the process that handled that event found no row of it. Every later one finds the row.
    await this.apply(adopted, (await this.gateway.retrieveRefund(stripeRefundId)) ?? reported);
  }

  private async findRow({ id, metadata }: ProviderRefund): Promise<Refund | null> {
    const named = metadata[METADATA_REFUND];
    const ours = named === undefined ? null : await this.refunds.findAnywhere(named);
    if (named !== undefined && ours === null)
      this.logger.error(
        { event: 'refund.row_missing', refund: id, named },
        'A refund at Stripe names a refund that does not exist here',
      );
    return ours ?? (await this.refunds.findByStripeId(id));
  }

  private async apply(refund: Refund, reported: ProviderRefund): Promise<void> {
    if (reported.takenCents !== refund.amountCents) {
      // The amount of our own refunds is fixed, so this is another system's refund with our id. Nothing is guessed.
      this.logger.error(
        {
          event: 'refund.contradiction',
          refund: refund.id,
          stripeRefund: reported.id,
          amountCents: String(reported.amountCents),
          currency: reported.currency,
        },
        'A refund at Stripe contradicts the row that it names; nothing was changed',
      );
      return;
    }
    // For refunds that we created, the credit has left the wallet already, and this moves nothing again. For refunds that were
    // created in Stripe's dashboard it may not have, however often this was begun before.
    if (refund.status === 'created' || refund.status === 'needs_review')
      await this.settlement.reserve(refund);
    await this.settlement.apply(refund, reported);
  }

  /**
   * Inserts the row of a refund that was not requested here, or whose row is lost, as after the database was restored from a backup.
   * Returns null when it is not a refund of one of our payments.
   */
  private async adopt(reported: ProviderRefund): Promise<Refund | null> {
    if (reported.status === 'failed' || reported.status === 'canceled') return null;
    const topUp = await this.topUps.findByPayment(reported);
    if (topUp === null) return null;
    let adopted = await this.insert(topUp, reported, 'within_payment');
    if (adopted === 'beyond_payment') {
      await this.refreshRefunds(topUp);
      adopted = await this.insert(topUp, reported, 'beyond_payment');
    }
    // The event is handled again, when the other refund is decided.
    if (adopted === 'beyond_payment')
      throw new PaymentsUnavailableError(new Error(`a refund of ${topUp.id} is not decided yet`));
    if (adopted === 'taken') return this.refunds.findByStripeId(reported.id);
    // The doctor names what leaves our balance for it, unless a later event says how much that is in US dollars.
    if (adopted === null)
      this.logger.error(
        {
          event: 'refund.amount_unknown',
          stripeRefund: reported.id,
          topUp: topUp.id,
          currency: reported.currency,
        },
        'A payment was refunded in another currency, and what that takes in US dollars is not known yet',
      );
    else if (adopted.excessMicros > 0n) {
      this.logger.error(
        {
          event: 'refund.beyond_payment',
          stripeRefund: reported.id,
          topUp: topUp.id,
          excessMicros: formatMicros(adopted.excessMicros),
        },
        'A refund at Stripe returns more than was left of its payment; the rest is a loss',
      );
    }
    return adopted;
  }

  /**
   * Inserts the row with what the refund takes of the payment. Unless what it takes beyond the payment may be booked, `'beyond_payment'` is
   * returned and nothing is inserted; in any case while another refund is not decided, because that one can fail.
   */
  private async insert(
    topUp: TopUp,
    reported: ProviderRefund,
    most: 'within_payment' | 'beyond_payment',
  ): Promise<Refund | 'taken' | 'beyond_payment' | null> {
    const { takenCents } = reported;
    if (takenCents === null) return null;
    let isBeyond = false;
    const inserted = await this.refunds.insert(topUp, (returned, isOneUndecided) => {
      const parts = partsOfTaken(takenCents, paidFor(topUp), returned);
      isBeyond = parts.excessCents > 0n && (most === 'within_payment' || isOneUndecided);
      return isBeyond ? null : this.toRefund(topUp, reported, parts);
    });
    return isBeyond && inserted === null ? 'beyond_payment' : inserted;
  }

  /**
   * Brings the other refunds of a payment to what Stripe says of them now. Stripe refunds no more than was paid, so when a refund seems to
   * go beyond its payment, another one has failed, or will. Booked before that is known, this one would be our loss, and the other
   * one's credit would return to a customer who has the money already.
   */
  private async refreshRefunds(topUp: TopUp): Promise<void> {
    for (const refund of await this.refunds.findByTopUp(topUp)) {
      const { stripeRefundId, status } = refund;
      if (stripeRefundId === null) {
        if (status === 'created') await this.settlement.resume(refund);
        continue;
      }
      const reported = await this.gateway.retrieveRefund(stripeRefundId);
      if (reported !== null && status !== 'failed') await this.apply(refund, reported);
    }
  }

  private toRefund(topUp: TopUp, reported: ProviderRefund, parts: PartsAndExcess): Refund {
    const origin = {
      paymentIntentId: reported.paymentIntentId ?? '',
      reason: "made in Stripe's dashboard",
      stripeRefundId: reported.id,
      idempotencyKey: null,
      fingerprint: reported.id,
      createdBy: 'stripe',
    };
    return newRefund(topUp, parts, origin, new Date(this.clock.nowMs()), parts.excessCents);
  }
}
