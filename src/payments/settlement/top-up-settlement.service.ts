import { Inject, Injectable, Logger } from '@nestjs/common';
import {
  cents,
  centsToMicros,
  microsToCentsExact,
  type MicroUsd,
  ZERO,
} from '../../platform/common/money.js';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
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
import { StripeEventHandlers } from '../stripe/stripe-inbox.service.js';
import { judge, type MoveVerdict } from './top-up-settlement.rules.js';
import type { TopUp } from '../top-ups/top-up.js';
import { type TopUpFacts, TopUpRepository } from '../top-ups/top-up.repository.js';

const SESSION_EVENTS = [
  'checkout.session.completed',
  'checkout.session.async_payment_succeeded',
  'checkout.session.async_payment_failed',
  'checkout.session.expired',
] as const;

/** The facts of a payment that are stored on its top-up. */
export type PaymentFacts = Pick<
  TopUpFacts,
  'checkoutSessionId' | 'checkoutUrl' | 'taxMicros' | 'invoiceUrl' | 'receiptUrl'
> & {
  readonly paymentIntentId: string | null;
};

/**
 * Settles a top-up as Stripe reports its payment, and posts the credit to the wallet once. An event of a payment page is stored by the
 * inbox, and its job calls `settle`, which goes through these steps: read the page's session at Stripe, find the row, decide
 * (`judge`, without any I/O), post the credit with the wallet engine, and move the row. The commit that moves the row also publishes it to the
 * account.
 */
@Injectable()
export class TopUpSettlementService {
  private readonly logger = new Logger(TopUpSettlementService.name);

  constructor(
    handlers: StripeEventHandlers,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly clock: DatabaseClock,
    private readonly engine: WalletEngine,
    private readonly topUps: TopUpRepository,
    private readonly reviews: PaymentReviewRepository,
  ) {
    handlers.register(SESSION_EVENTS, ({ objectId }) => this.settle(objectId));
  }

  /**
   * Reads the session from Stripe and applies its present state. It is safe to repeat at any time and in any order.
   * Throws `PaymentsUnavailableError`, or what the engine and the database throw; then it has to run again.
   */
  async settle(sessionId: string): Promise<void> {
    const session = await this.readSession(sessionId);
    const topUp = session === null ? null : await this.findTopUp(session);
    if (session === null || topUp === null) return;
    if (topUp.status === 'paid') return this.applyToPaid(topUp, session);
    const verdict = judge(topUp, session, this.gateway.livemode);
    switch (verdict.kind) {
      case 'credit':
        return this.credit(topUp, { ...toFacts(session), ...toPaidFacts(topUp, session) });
      case 'review':
        return this.review(topUp, toReviewedSession(session), verdict.contradictions);
      case 'move':
        return this.move(topUp, session, verdict);
    }
  }

  private async readSession(sessionId: string): Promise<CheckoutSession | null> {
    const session = await this.gateway.retrieveCheckoutSession(sessionId);
    if (session === null)
      this.logger.warn(
        { event: 'checkout_session.missing', session: sessionId },
        'Stripe does not know a checkout session',
      );
    return session;
  }

  /** Other systems may share the Stripe account. Their sessions are ignored. */
  private async findTopUp(session: CheckoutSession): Promise<TopUp | null> {
    const topUpId = session.metadata[METADATA_TOP_UP] ?? session.clientReferenceId;
    const topUp = topUpId === null ? null : await this.topUps.findAnywhere(topUpId);
    if (topUp === null && topUpId?.startsWith('tu_'))
      this.logger.error(
        { event: 'checkout_session.top_up_missing', session: session.id, topUp: topUpId },
        'A checkout session pays for a top-up that does not exist here; nothing was credited',
      );
    return topUp;
  }

  private async move(topUp: TopUp, session: CheckoutSession, verdict: MoveVerdict): Promise<void> {
    const failureCode = verdict.to === 'failed' ? verdict.failure : null;
    const moved = await this.topUps.move(topUp, verdict.to, { ...toFacts(session), failureCode });
    if (!moved) await this.topUps.note(topUp);
  }

  /**
   * Posts the credit of a payment to the wallet. The caller has compared the payment with the quote. The wallet is
   * changed before the row: after a crash between the two, the next run finds the reference in the ledger, posts nothing
   * again, and updates the row.
   */
  async credit(topUp: TopUp, payment: PaymentFacts): Promise<void> {
    const taxMicros = payment.taxMicros ?? ZERO;
    const wasReviewed = topUp.status === 'needs_review' || topUp.status === 'rejected';
    if (wasReviewed) {
      const reviewed = toReviewedPayment(topUp, payment, taxMicros);
      const released = await this.reviews.release(topUp, reviewed.payment);
      // Once an operator has decided, a later report of Stripe's changes nothing. A payment that they did not know of waits for them.
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
    this.logger.log({ event: 'top_up.paid', topUp: topUp.id }, 'A top-up is paid and credited');
  }

  /** Stores a payment that cannot be credited, so that an operator decides about it. */
  async review(topUp: TopUp, payment: ReviewedPayment, contradictions: readonly string[]): Promise<void> {
    if (!(await this.reviews.open(topUp, payment, contradictions))) return this.topUps.note(topUp);
    this.logger.error(
      { event: 'top_up.needs_review', topUp: topUp.id, payment: payment.payment, contradictions },
      'A payment contradicts its quote; nothing was credited, and an operator has to decide',
    );
  }

  /** Handles an event of a top-up that is already paid: it may bring a receipt, or be a second payment. */
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
    await this.review(topUp, toReviewedSession(session), [`it was paid before, by ${paymentNameFor(topUp)}`]);
  }
}

function toFacts({ id, url, paymentIntentId }: CheckoutSession) {
  return { checkoutSessionId: id, checkoutUrl: url, paymentIntentId };
}

/** The further facts of a payment that agrees with its quote. */
function toPaidFacts({ automaticTax }: TopUp, { amountTaxCents, invoiceUrl, receiptUrl }: CheckoutSession) {
  const taxMicros = automaticTax && amountTaxCents !== null ? centsToMicros(amountTaxCents) : ZERO;
  return { taxMicros, invoiceUrl, receiptUrl };
}

function toReviewedSession(session: CheckoutSession): ReviewedPayment {
  const { id, paymentIntentId, paymentStatus, amountTotalCents, currency } = session;
  const paid = paymentStatus === 'paid';
  return { payment: id, paymentIntentId, paid, amountCents: amountTotalCents, currency };
}

/** The payment as it is reviewed; it agrees with its quote. */
function toReviewedPayment(topUp: TopUp, payment: PaymentFacts, taxMicros: MicroUsd): ReviewedPayment {
  const { checkoutSessionId, paymentIntentId } = payment;
  const id = checkoutSessionId ?? paymentIntentId;
  if (id === null) throw new Error(`${topUp.id} is paid, but its payment has no id`);
  const amountCents = cents(topUp.chargeCents + microsToCentsExact(taxMicros));
  return { payment: id, paymentIntentId, paid: true, amountCents, currency: 'usd' };
}

function paymentNameFor({ checkoutSessionId, paymentIntentId }: TopUp): string {
  return checkoutSessionId ?? paymentIntentId ?? 'an unknown payment';
}
