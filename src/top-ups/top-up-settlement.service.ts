import { Inject, Injectable, Logger } from '@nestjs/common';
import { CLOCK, type Clock } from '../common/clock.js';
import { ZERO } from '../common/money.js';
import { TransactionRunner } from '../database/transaction-runner.js';
import { WebhookEvents } from '../notifications/webhooks/webhook-events.service.js';
import {
  METADATA_TOP_UP,
  PAYMENT_GATEWAY,
  type CheckoutSession,
  type PaymentGateway,
} from '../payments/payment-gateway.js';
import { WalletEngine } from '../wallets/wallet-engine.js';
import { judge } from './settlement.js';
import { toTopUpView } from './top-up.dto.js';
import type { TopUp } from './top-up.js';
import { type TopUpFacts, TopUpRepository } from './top-up.repository.js';

/** Brings a top-up to where Stripe says its payment is, and the credit into the wallet, once. */
@Injectable()
export class TopUpSettlement {
  private readonly logger = new Logger(TopUpSettlement.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: WalletEngine,
    private readonly topUps: TopUpRepository,
    private readonly transactions: TransactionRunner,
    private readonly events: WebhookEvents,
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
    if (topUp.status === 'paid') return this.reportSecondPayment(topUp, session);
    const verdict = judge(topUp, session, this.gateway.livemode);
    switch (verdict.kind) {
      case 'credit':
        return this.credit(topUp, session);
      case 'review':
        this.logger.error(
          `${topUp.id} needs review, nothing is credited: ${verdict.contradictions.join('; ')} (${session.id})`,
        );
        if (await this.topUps.move(topUp, 'needs_review', { failureCode: 'payment_mismatch' })) return;
        return this.topUps.note(topUp);
      case 'move': {
        const failureCode = verdict.to === 'failed' ? verdict.failure : null;
        const facts = { ...factsOf(session), failureCode };
        const moved =
          verdict.to === 'failed'
            ? await this.moveAndTell(topUp, 'failed', facts)
            : await this.topUps.move(topUp, verdict.to, facts);
        if (moved) return;
        return this.topUps.note(topUp);
      }
    }
  }

  /**
   * First the wallet, then the row: cut off between the two, the next run finds the reference in the ledger,
   * moves nothing again, and marks the row.
   */
  private async credit(topUp: TopUp, session: CheckoutSession): Promise<void> {
    await this.engine.execute({
      type: 'credit',
      cause: 'top_up',
      accountId: topUp.accountId,
      actor: 'stripe',
      reference: `top_up:${topUp.id}`,
      fingerprint: `${topUp.lotId}:${topUp.creditMicros}:${topUp.feeMicros}`,
      memo: session.paymentIntentId === null ? null : `Stripe ${session.paymentIntentId}`,
      lotId: topUp.lotId,
      amountMicros: topUp.creditMicros,
      feeMicros: topUp.feeMicros,
      taxMicros: ZERO,
      expiresAtMs: null,
    });
    const paidAt = new Date(this.clock.nowMs());
    await this.moveAndTell(topUp, 'paid', { ...factsOf(session), failureCode: null, paidAt });
    this.logger.log(`${topUp.id} is paid.`);
  }

  /** The row and the event about it in one tx: the customer's machines are told if, and only if, it moved. */
  private moveAndTell(topUp: TopUp, to: 'paid' | 'failed', facts: TopUpFacts): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      if (!(await this.topUps.move(topUp, to, facts, tx))) return false;
      await this.events.publish(tx, {
        accountId: topUp.accountId,
        type: to === 'paid' ? 'top_up.succeeded' : 'top_up.failed',
        data: { ...toTopUpView({ ...topUp, ...facts, status: to }) },
        naturalKey: topUp.id,
      });
      return true;
    });
  }

  private reportSecondPayment(topUp: TopUp, session: CheckoutSession): void {
    if (session.id === topUp.checkoutSessionId || session.paymentStatus !== 'paid') return;
    this.logger.error(
      `${topUp.id} was paid twice: by ${topUp.checkoutSessionId} and ${session.id}. Refund one.`,
    );
  }
}

function factsOf({ id, url, paymentIntentId }: CheckoutSession) {
  return { checkoutSessionId: id, checkoutUrl: url, paymentIntentId };
}
