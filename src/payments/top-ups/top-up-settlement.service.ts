import { Inject, Injectable, Logger } from '@nestjs/common';
import {
  cents,
  centsToMicros,
  microsToCentsExact,
  type MicroUsd,
  ZERO,
} from '../../platform/common/money.js';
import { DatabaseClock } from '../../platform/database/database-clock.js';
import {
  METADATA_TOP_UP,
  PAYMENT_GATEWAY,
  type CheckoutSession,
  type PaymentGateway,
} from '../stripe/payment-gateway.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import {
  PaymentReviewRepository,
  type ReviewedPayment,
} from '../payment-reviews/payment-review.repository.js';
import { judge } from './settlement.js';
import type { TopUp } from './top-up.js';
import { type TopUpFacts, TopUpRepository } from './top-up.repository.js';

/** What is noted of a payment. */
export type PaymentFacts = Pick<
  TopUpFacts,
  'checkoutSessionId' | 'checkoutUrl' | 'taxMicros' | 'invoiceUrl' | 'receiptUrl'
> & {
  readonly paymentIntentId: string | null;
};

/** Brings a top-up to where Stripe says its payment is, and the credit into the wallet, once. */
@Injectable()
export class TopUpSettlement {
  private readonly logger = new Logger(TopUpSettlement.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly clock: DatabaseClock,
    private readonly engine: WalletEngine,
    private readonly topUps: TopUpRepository,
    private readonly reviews: PaymentReviewRepository,
  ) {}

  /**
   * Reads the session from Stripe and acts on what it says now. Safe to repeat at any time and in any order.
   * Throws `PaymentsUnavailableError`, or what the engine and the database throw; then it has to run again.
   */
  async settle(sessionId: string): Promise<void> {
    const session = await this.gateway.retrieveCheckoutSession(sessionId);
    if (session === null) {
      this.logger.warn(`Stripe knows no checkout session ${sessionId}.`);
      return;
    }
    const topUpId = session.metadata[METADATA_TOP_UP] ?? session.clientReferenceId;
    const topUp = topUpId === null ? null : await this.topUps.findAnywhere(topUpId);
    // Other systems may share the Stripe account; their sessions are none of our business.
    if (topUp !== null) await this.apply(topUp, session);
    else if (topUpId?.startsWith('tu_'))
      this.logger.error(`${sessionId} pays for ${topUpId}, which is unknown here.`);
  }

  private async apply(topUp: TopUp, session: CheckoutSession): Promise<void> {
    if (topUp.status === 'paid') return this.applyToPaid(topUp, session);
    const verdict = judge(topUp, session, this.gateway.livemode);
    switch (verdict.kind) {
      case 'credit':
        return this.credit(topUp, { ...factsOf(session), ...paidFactsOf(topUp, session) });
      case 'review':
        return this.review(topUp, reviewedOf(session), verdict.contradictions);
      case 'move': {
        const failureCode = verdict.to === 'failed' ? verdict.failure : null;
        if (await this.topUps.move(topUp, verdict.to, { ...factsOf(session), failureCode })) return;
        return this.topUps.note(topUp);
      }
    }
  }

  /**
   * Brings what was paid into the wallet, however it was paid: whoever calls this has compared it with the quote.
   * First the wallet, then the row: cut off between the two, the next run finds the reference in the ledger,
   * moves nothing again, and marks the row.
   */
  async credit(topUp: TopUp, payment: PaymentFacts): Promise<void> {
    const taxMicros = payment.taxMicros ?? ZERO;
    const wasReviewed = topUp.status === 'needs_review' || topUp.status === 'rejected';
    if (wasReviewed) {
      const reviewed = toReviewed(topUp, payment, taxMicros);
      const released = await this.reviews.release(topUp, reviewed.payment);
      // Once a person has decided, Stripe's later word changes nothing; a payment that they did not know of waits for them.
      if (released !== 'released') return this.review(topUp, reviewed, [released.refused]);
    }
    await this.engine.execute({
      type: 'credit',
      cause: 'top_up',
      accountId: topUp.accountId,
      actor: 'stripe',
      reference: `top_up:${topUp.id}`,
      fingerprint: `${topUp.lotId}:${topUp.creditMicros}:${topUp.feeMicros}${taxMicros === 0n ? '' : `:${taxMicros}`}`,
      memo: payment.paymentIntentId === null ? null : `Stripe ${payment.paymentIntentId}`,
      lotId: topUp.lotId,
      amountMicros: topUp.creditMicros,
      feeMicros: topUp.feeMicros,
      taxMicros,
      expiresAtMs: null,
    });
    const paidAt = new Date(await this.clock.nowMs());
    await this.topUps.move(topUp, 'paid', { ...payment, failureCode: null, declineCode: null, paidAt });
    this.logger.log(`${topUp.id} is paid.`);
  }

  /** Keeps a payment that cannot be credited for a person to decide about. */
  async review(topUp: TopUp, payment: ReviewedPayment, contradictions: readonly string[]): Promise<void> {
    if (!(await this.reviews.open(topUp, payment, contradictions))) return this.topUps.note(topUp);
    this.logger.error(
      `${topUp.id} needs review, nothing is credited: ${contradictions.join('; ')} (${payment.payment})`,
    );
  }

  /** News of what is paid already: a receipt that was not there yet, or a second payment. */
  private async applyToPaid(topUp: TopUp, session: CheckoutSession): Promise<void> {
    await this.reviewSecondPayment(topUp, session);
    const { invoiceUrl, receiptUrl } = session;
    const isKnown =
      (topUp.invoiceUrl ?? invoiceUrl) === topUp.invoiceUrl &&
      (topUp.receiptUrl ?? receiptUrl) === topUp.receiptUrl;
    if (session.id !== topUp.checkoutSessionId || isKnown) return;
    await this.topUps.note(topUp, {
      invoiceUrl: topUp.invoiceUrl ?? invoiceUrl,
      receiptUrl: topUp.receiptUrl ?? receiptUrl,
    });
  }

  private async reviewSecondPayment(topUp: TopUp, session: CheckoutSession): Promise<void> {
    if (session.id === topUp.checkoutSessionId || session.paymentStatus !== 'paid') return;
    await this.review(topUp, reviewedOf(session), [`it was paid before, by ${paymentOf(topUp)}`]);
  }
}

function factsOf({ id, url, paymentIntentId }: CheckoutSession) {
  return { checkoutSessionId: id, checkoutUrl: url, paymentIntentId };
}

/** What is learned of a payment that agrees with its quote. */
function paidFactsOf({ automaticTax }: TopUp, { amountTaxCents, invoiceUrl, receiptUrl }: CheckoutSession) {
  const taxMicros = automaticTax && amountTaxCents !== null ? centsToMicros(amountTaxCents) : ZERO;
  return { taxMicros, invoiceUrl, receiptUrl };
}

function reviewedOf(session: CheckoutSession): ReviewedPayment {
  const { id, paymentIntentId, paymentStatus, amountTotalCents, currency } = session;
  const paid = paymentStatus === 'paid';
  return { payment: id, paymentIntentId, paid, amountCents: amountTotalCents, currency };
}

/** Of a payment that agrees with its quote. */
function toReviewed(topUp: TopUp, payment: PaymentFacts, taxMicros: MicroUsd): ReviewedPayment {
  const { checkoutSessionId, paymentIntentId } = payment;
  const id = checkoutSessionId ?? paymentIntentId;
  if (id === null) throw new Error(`${topUp.id} is paid by nothing known`);
  const amountCents = cents(topUp.chargeCents + microsToCentsExact(taxMicros));
  return { payment: id, paymentIntentId, paid: true, amountCents, currency: 'usd' };
}

function paymentOf({ checkoutSessionId, paymentIntentId }: TopUp): string {
  return checkoutSessionId ?? paymentIntentId ?? 'nothing known';
}
