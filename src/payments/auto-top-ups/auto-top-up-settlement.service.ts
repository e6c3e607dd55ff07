import { Inject, Injectable } from '@nestjs/common';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import type { CardDecline, PaymentIntent } from '../stripe/off-session-payments.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import { TopUpRepository, type TopUpFacts } from '../top-ups/top-up.repository.js';
import type { ReviewedPayment } from '../payment-reviews/payment-review.repository.js';
import { TopUpSettlementService } from '../settlement/top-up-settlement.service.js';
import type { TopUp, TopUpFailure } from '../top-ups/top-up.js';
import { AutoTopUpSwitchService } from './auto-top-up-switch.service.js';
import { chargeFingerprint, type AutoTopUp, type OffReason } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { RETRY_AFTER_DECLINE_MS, reactTo } from './auto-top-up.rules.js';
import { judgeIntent } from './auto-top-up-settlement.rules.js';

const SECOND_MS = 1_000;

/** Settles an auto top-up as Stripe reports its payment; the credit itself is posted as for every other top-up. */
@Injectable()
export class AutoTopUpSettlementService {
  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly clock: DatabaseClock,
    private readonly transactions: TransactionRunner,
    private readonly topUps: TopUpRepository,
    private readonly settlement: TopUpSettlementService,
    private readonly repository: AutoTopUpRepository,
    private readonly switches: AutoTopUpSwitchService,
  ) {}

  /**
   * Applies the payment's present state: the answer to a charge, or the object of an event, read again. It is safe to
   * repeat at any time and in any order. Throws what the engine and the database throw; then it has to run again.
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
        return this.settlement.review(topUp, toReviewedPayment(intent), verdict.contradictions);
    }
  }

  /** Fails the top-up because Stripe refuses to charge this card at all. Nothing was charged, and a retry would not help. */
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

  /** Changes the row and the status, and publishes the events of both, in one tx. A second call changes nothing. */
  private async fail(topUp: TopUp, facts: TopUpFacts, findReaction: FindReaction): Promise<void> {
    const { accountId, livemode } = topUp;
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, livemode);
      if (!(await this.topUps.move(topUp, 'failed', facts, tx)) || current === null) return;
      const failed: TopUp = { ...topUp, ...facts, status: 'failed' };
      const report = { topUp: failed, actionUrl: null, retryAt: null };
      // The account changed its settings since: this charge was made under the old ones and does not affect the new.
      if (current.status !== 'on' || topUp.fingerprint !== chargeFingerprint(current)) {
        return this.switches.reportFailure(tx, current, report);
      }
      const reaction = await findReaction(current, await this.clock.nowMs(tx), tx);
      switch (reaction.kind) {
        case 'action_required':
          // The failure is reported to the customer once there is a payment page to send them to.
          return this.switches.requireAction(tx, current, failed);
        case 'switch_off': {
          const off = { ...current, status: 'off', offReason: reaction.reason } as const;
          await this.switches.reportFailure(tx, off, report);
          return this.switches.turnOff(tx, current, reaction.reason, failed);
        }
        case 'retry': {
          const waitMs = Math.max(RETRY_AFTER_DECLINE_MS, current.cooldownSeconds * SECOND_MS);
          const retryAt = new Date(topUp.createdAt.getTime() + waitMs);
          await this.switches.reportFailure(tx, current, { ...report, retryAt });
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
    await this.settlement.review(topUp, toReviewedPayment(intent), [contradiction]);
  }
}

function toReviewedPayment({ id, status, amountReceivedCents, currency }: PaymentIntent): ReviewedPayment {
  const paid = status === 'succeeded';
  return { payment: id, paymentIntentId: id, paid, amountCents: amountReceivedCents, currency };
}

type FindReaction = (
  current: AutoTopUp,
  nowMs: number,
  tx: Parameters<AutoTopUpSwitchService['turnOff']>[0],
) => Promise<ReturnType<typeof reactTo> | { readonly kind: 'switch_off'; readonly reason: OffReason }>;
