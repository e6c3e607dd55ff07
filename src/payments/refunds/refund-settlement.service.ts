import { Inject, Injectable, Logger } from '@nestjs/common';
import { actorName, newAuditEvent, type AuditActor } from '../../identity/audit-log/audit-event.js';
import { newId } from '../../platform/common/ids.js';
import { ZERO, type MicroUsd } from '../../platform/common/money.js';
import {
  METADATA_REFUND,
  PAYMENT_GATEWAY,
  type PaymentGateway,
  type ProviderRefund,
} from '../stripe/payment-gateway.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import type { NewFreeze } from '../../money/wallets/rules/command.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { InsufficientCreditsError } from '../../money/wallets/wallet.errors.js';
import { MovementBookingService } from '../disputes/movement-booking.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { writeOffReference } from '../top-ups/write-off-reference.js';
import { FailedRefundBookingService } from './failed-refund-booking.service.js';
import { RefundInterruptedError } from './refund.errors.js';
import { isMadeAtStripe, toBookingFingerprint, type Refund } from './refund.js';
import { RefundRepository, type RefundFacts } from './refund.repository.js';

/** The final statuses of a refund at Stripe, and what each means for the row. */
const ENDINGS: ReadonlyMap<string, 'succeeded' | 'failed'> = new Map([
  ['succeeded', 'succeeded'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
]);

/**
 * Carries a refund out: it reverses the credit in the wallet (`reserve`), asks Stripe (`submit`) and applies what Stripe reports
 * (`apply`). Any process may repeat each step at any time: the ledger knows the references `refund:<id>` and `refund:<id>:failed`,
 * and Stripe knows the idempotency key.
 */
@Injectable()
export class RefundSettlementService {
  private readonly logger = new Logger(RefundSettlementService.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly engine: WalletEngine,
    private readonly refunds: RefundRepository,
    private readonly topUps: TopUpRepository,
    private readonly booking: MovementBookingService,
    private readonly failedRefunds: FailedRefundBookingService,
  ) {}

  /**
   * Reverses the credit, so that it cannot be spent while the money is refunded. Throws `InsufficientCreditsError` when the wallet
   * does not have it; then nothing moved. The money of a refund that was created at Stripe is gone already: what the wallet does
   * not have becomes debt, and the wallet freezes.
   */
  async reserve(refund: Refund): Promise<void> {
    await this.engine.execute({
      type: 'reverseCredit',
      cause: 'refund',
      accountId: refund.accountId,
      actor: refund.createdBy,
      reference: `refund:${refund.id}`,
      fingerprint: toBookingFingerprint(refund),
      memo: refund.reason ?? `Refund of ${refund.topUpId}`,
      lotId: refund.lotId,
      amountMicros: refund.creditMicros,
      feeMicros: refund.feeMicros,
      taxMicros: refund.taxMicros,
      excessMicros: refund.excessMicros,
      freeze: isMadeAtStripe(refund) ? freezeFor(refund) : null,
    });
  }

  /**
   * Carries out a refund that was requested here: the credit leaves the wallet, then Stripe is asked. Throws `InsufficientCreditsError`,
   * after the refund was refused, when the wallet does not have the credit; `RefundInterruptedError` when other money of the account came
   * back or was taken since it was requested, because a return is booked before what disputes take of it, and the refund could send
   * that to a card (its credit is then in the wallet again); and what `submit` throws. Resolves also when another process carries it out.
   */
  async carryOut(refund: Refund): Promise<void> {
    const topUp = await this.requireTopUp(refund);
    await this.reserveUnlessRefused(topUp, refund);
    const step = await this.refunds.decideSubmission(topUp, refund);
    switch (step) {
      case 'submit':
        return this.submit(topUp, refund);
      case 'submit_again':
        return this.submitAgain(topUp, refund);
      case 'interrupted':
        await this.booking.bookAll(topUp);
        throw new RefundInterruptedError(refund.id);
      case 'refused':
        // Another process found the wallet empty before this one took the credit.
        await this.failedRefunds.reinstate(refund);
        throw new RefundInterruptedError(refund.id);
      case 'decided_elsewhere':
        return;
    }
  }

  /** Carries out a refund that an earlier attempt may have begun. Resolves also when it is over, because its row then says why. */
  async resume(refund: Refund): Promise<void> {
    try {
      await this.carryOut(refund);
    } catch (error) {
      const isOver =
        error instanceof InsufficientCreditsError ||
        error instanceof RefundInterruptedError ||
        error instanceof PaymentRequestRefusedError;
      if (!isOver) throw error;
    }
  }

  private async reserveUnlessRefused(topUp: TopUp, refund: Refund): Promise<void> {
    try {
      await this.reserve(refund);
    } catch (error) {
      if (!(error instanceof InsufficientCreditsError)) throw error;
      // Another process may have taken the credit since; then the refund goes on.
      if (!(await this.refunds.refuse(topUp, refund, 'insufficient_credits'))) return;
      await this.booking.bookAll(topUp);
      throw error;
    }
  }

  /** An earlier attempt may have reached Stripe so long ago that it has forgotten the idempotency key, so the refund is searched for first. */
  private async submitAgain(topUp: TopUp, refund: Refund): Promise<void> {
    const existing = await this.findAtStripe(refund);
    return existing === null ? this.submit(topUp, refund) : this.apply(refund, existing);
  }

  /**
   * Requests the refund and applies Stripe's answer. Throws `PaymentRequestRefusedError` when Stripe refuses it (the credit is then in
   * the wallet again), or `PaymentsUnavailableError`.
   */
  private async submit(topUp: TopUp, refund: Refund): Promise<void> {
    try {
      const { id: refundId, topUpId, accountId, paymentIntentId, amountCents } = refund;
      const request = { refundId, topUpId, accountId, paymentIntentId, amountCents };
      await this.apply(refund, await this.gateway.createRefund(request, `refund:${refundId}`));
    } catch (error) {
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
      // An attempt whose answer was lost may have created the refund.
      const created = await this.findAtStripe(refund);
      if (created !== null) return this.apply(refund, created);
      if (await this.fail(topUp, refund, { failureCode: error.providerCode })) throw error;
    }
  }

  /** Applies the present state of the refund at Stripe. When it failed, the credit returns to the wallet. */
  async apply(refund: Refund, reported: ProviderRefund): Promise<void> {
    const facts = { stripeRefundId: reported.id };
    const ending = ENDINGS.get(reported.status ?? '');
    if (ending === 'failed') {
      const failureCode = reported.failureReason ?? reported.status;
      await this.fail(await this.requireTopUp(refund), refund, { ...facts, failureCode });
      return;
    }
    if (await this.refunds.move(refund, ending ?? 'pending', facts)) {
      this.logger.log(
        { event: 'refund.moved', refund: refund.id, stripeRefund: reported.id, status: ending ?? 'pending' },
        'A refund has the status that Stripe reports',
      );
      return;
    }
    await this.refunds.note(refund);
  }

  /**
   * Decides the failure, and books it with everything else that is decided of the payment. When it was decided before, a crash may
   * have prevented the booking. Returns false, and books nothing, when the refund cannot fail any more.
   */
  private async fail(topUp: TopUp, refund: Refund, facts: RefundFacts): Promise<boolean> {
    const isFailing = await this.refunds.decideFailure(topUp, refund, facts);
    if (isFailing) await this.booking.bookAll(topUp);
    await this.refunds.note(refund);
    return isFailing;
  }

  /** Writes off the debt that the refund left, as `DisputeSettlementService.writeOff` does. Only a refund that was created at Stripe leaves any. */
  async writeOff(refund: Refund, by: AuditActor, idempotencyKey: string | null): Promise<MicroUsd> {
    if (!isMadeAtStripe(refund)) return ZERO;
    const { accountId, id } = refund;
    const outcome = await this.engine.execute({
      type: 'writeOff',
      accountId,
      actor: actorName(by),
      audit: newAuditEvent(by, { act: 'refund.written_off', object: id, account: accountId }),
      reference: writeOffReference(`refund:${id}`, idempotencyKey),
      memo: `Debt of ${id} written off`,
    });
    return outcome.type === 'posted' ? outcome.movement.amountMicros : ZERO;
  }

  private async requireTopUp({ accountId, id, topUpId }: Refund): Promise<TopUp> {
    const topUp = await this.topUps.find(accountId, topUpId);
    if (topUp === null) throw new Error(`${id} is of ${topUpId}, which does not exist`);
    return topUp;
  }

  private async findAtStripe({ id, paymentIntentId }: Refund): Promise<ProviderRefund | null> {
    const refunds = await this.gateway.listRefunds(paymentIntentId);
    return refunds.find(({ metadata }) => metadata[METADATA_REFUND] === id) ?? null;
  }
}

function freezeFor({ id, topUpId }: Refund): NewFreeze {
  const reason = `refund ${id} of ${topUpId}, made at Stripe, of credit that was spent`;
  return {
    id: newId('freeze'),
    source: 'refund',
    sourceId: id,
    reason,
    statusChangeId: newId('statusChange'),
  };
}
