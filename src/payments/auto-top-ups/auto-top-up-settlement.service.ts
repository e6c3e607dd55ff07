import { Inject, Injectable } from '@nestjs/common';
import { DatabaseClock } from '../../platform/database/database-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import type { CardDecline, PaymentIntent } from '../stripe/off-session-payments.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import { TopUpRepository, type TopUpFacts } from '../top-ups/top-up.repository.js';
import type { ReviewedPayment } from '../payment-reviews/payment-review.repository.js';
import { TopUpSettlement } from '../top-ups/top-up-settlement.service.js';
import type { TopUp, TopUpFailure } from '../top-ups/top-up.js';
import { AutoTopUpSwitch } from './auto-top-up-switch.service.js';
import { fingerprintOf, type AutoTopUp, type OffReason } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { RETRY_AFTER_DECLINE_MS, reactTo } from './auto-top-up.rules.js';
import { judgeIntent } from './intent-verdict.js';

const SECOND_MS = 1_000;

/** Brings an auto top-up to where Stripe says its payment is; credit goes the way of every other top-up. */
@Injectable()
export class AutoTopUpSettlement {
  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly topUps: TopUpRepository,
    private readonly settlement: TopUpSettlement,
    private readonly repository: AutoTopUpRepository,
    private readonly switches: AutoTopUpSwitch,
  ) {}

  /**
   * Acts on what Stripe says now, be it the answer to a charge or an event's object read again. Safe to repeat at any
   * time and in any order. Throws what the engine and the database throw; then it has to run again.
   */
  async settle(topUp: TopUp, intent: PaymentIntent): Promise<void> {
    if (topUp.status === 'paid') return this.reviewSecondPayment(topUp, intent);
    const verdict = judgeIntent(topUp, intent, this.gateway.livemode);
    switch (verdict.kind) {
      case 'credit':
        return this.settlement.credit(topUp, { paymentIntentId: intent.id });
      case 'wait':
        if (await this.topUps.move(topUp, 'processing', { paymentIntentId: intent.id })) return;
        return this.topUps.note(topUp);
      case 'declined':
        return this.decline(topUp, intent, verdict.decline);
      case 'review':
        return this.settlement.review(topUp, reviewedOf(intent), verdict.contradictions);
    }
  }

  /** Stripe refuses to charge this card at all. Nothing was charged, and asking again changes nothing. */
  async refuse(topUp: TopUp): Promise<void> {
    await this.fail(topUp, { failureCode: 'card_unusable' }, async (current) => ({
      kind: 'switch_off',
      reason: (await this.isCardGone(current)) ? 'card_removed' : 'card_refused',
    }));
  }

  private async decline(topUp: TopUp, { id }: PaymentIntent, decline: CardDecline | null): Promise<void> {
    const needsCustomer = reactTo(decline, 0).kind === 'action_required';
    const failureCode: TopUpFailure = needsCustomer ? 'authentication_required' : 'card_declined';
    const declineCode = decline?.declineCode ?? decline?.code ?? null;
    await this.fail(topUp, { paymentIntentId: id, failureCode, declineCode }, async (current, nowMs, tx) => {
      const { declinesInARow } = await this.repository.usage(tx, current, nowMs);
      return reactTo(decline, declinesInARow);
    });
  }

  /** The row, the status of auto top-up and the news of both in one tx; whoever comes second changes nothing. */
  private async fail(topUp: TopUp, facts: TopUpFacts, react: React): Promise<void> {
    const { accountId, livemode } = topUp;
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, livemode);
      if (!(await this.topUps.move(topUp, 'failed', facts, tx)) || current === null) return;
      const failed: TopUp = { ...topUp, ...facts, status: 'failed' };
      const news = { topUp: failed, actionUrl: null, retryAt: null };
      // Since then the account switched it off, or anew: this charge says nothing about that.
      if (current.status !== 'on' || topUp.fingerprint !== fingerprintOf(current)) {
        return this.switches.reportFailure(tx, current, news);
      }
      const reaction = await react(current, await this.clock.nowMs(tx), tx);
      switch (reaction.kind) {
        case 'action_required':
          // She is told when there is a page to send her to.
          return this.switches.needCustomer(tx, current, failed);
        case 'switch_off': {
          const off = { ...current, status: 'off', offReason: reaction.reason } as const;
          await this.switches.reportFailure(tx, off, news);
          return this.switches.turnOff(tx, current, reaction.reason, failed);
        }
        case 'retry': {
          const waitMs = Math.max(RETRY_AFTER_DECLINE_MS, current.cooldownSeconds * SECOND_MS);
          const retryAt = new Date(topUp.createdAt.getTime() + waitMs);
          await this.switches.reportFailure(tx, current, { ...news, retryAt });
          return this.switches.recheck(tx, accountId, retryAt);
        }
      }
    });
  }

  private async isCardGone({ accountId, cardId }: AutoTopUp): Promise<boolean> {
    const card = await this.repository.card(accountId, cardId);
    return card === null || card.detachedAt !== null;
  }

  private async reviewSecondPayment(topUp: TopUp, intent: PaymentIntent): Promise<void> {
    if (intent.id === topUp.paymentIntentId || intent.status !== 'succeeded') return;
    const contradiction = `it was paid before, by ${topUp.paymentIntentId}`;
    await this.settlement.review(topUp, reviewedOf(intent), [contradiction]);
  }
}

function reviewedOf({ id, status, amountReceivedCents, currency }: PaymentIntent): ReviewedPayment {
  const paid = status === 'succeeded';
  return { payment: id, paymentIntentId: id, paid, amountCents: amountReceivedCents, currency };
}

type React = (
  current: AutoTopUp,
  nowMs: number,
  tx: Parameters<AutoTopUpSwitch['turnOff']>[0],
) => Promise<ReturnType<typeof reactTo> | { readonly kind: 'switch_off'; readonly reason: OffReason }>;
