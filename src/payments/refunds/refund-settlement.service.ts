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
import { DisputeMovementRepository } from '../disputes/dispute-movement.repository.js';
import { MovementBookingService } from '../disputes/movement-booking.service.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { writeOffReference } from '../top-ups/write-off-reference.js';
import { FailedRefundBookingService } from './failed-refund-booking.service.js';
import { RefundInterruptedError } from './refund.errors.js';
import { isMadeAtStripe, toBookingFingerprint, type Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';

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
    private readonly movements: DisputeMovementRepository,
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
   * back or was taken at the same moment, because a return is booked before what disputes take of it, and the refund could send
   * that to a card (its credit is then in the wallet again); and what `submit` throws.
   */
  async carryOut(refund: Refund, mayExist: boolean): Promise<void> {
    const before = await this.movements.countDecisions(refund.accountId);
    await this.reserveUnlessRefused(refund);
    if (await this.refunds.isRefused(refund)) {
      // Another process found the wallet empty before this one took the credit, and has said so.
      await this.failedRefunds.reinstate(refund);
      throw new RefundInterruptedError(refund.id);
    }
    const after = await this.movements.countDecisions(refund.accountId);
    if (before.open > 0 || after.all !== before.all) {
      const existing = mayExist ? await this.findAtStripe(refund) : null;
      if (existing !== null) return this.apply(refund, existing);
      await this.fail(refund, 'wallet_changed');
      throw new RefundInterruptedError(refund.id);
    }
    await this.submit(refund, mayExist);
  }

  private async reserveUnlessRefused(refund: Refund): Promise<void> {
    try {
      await this.reserve(refund);
    } catch (error) {
      if (!(error instanceof InsufficientCreditsError)) throw error;
      await this.refunds.refuse(refund, 'insufficient_credits');
      throw error;
    }
  }

  /**
   * Requests the refund and applies Stripe's answer. Throws `PaymentRequestRefusedError` when Stripe refuses it (the credit is then in
   * the wallet again), or `PaymentsUnavailableError`.
   *
   * @param mayExist an earlier attempt may have reached Stripe so long ago that it has forgotten the idempotency key. Then the refund is
   *   searched for first.
   */
  async submit(refund: Refund, mayExist: boolean): Promise<void> {
    const existing = mayExist ? await this.findAtStripe(refund) : null;
    if (existing !== null) return this.apply(refund, existing);
    try {
      const { id: refundId, topUpId, accountId, paymentIntentId, amountCents } = refund;
      const request = { refundId, topUpId, accountId, paymentIntentId, amountCents };
      await this.apply(refund, await this.gateway.createRefund(request, `refund:${refundId}`));
    } catch (error) {
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
      // An attempt whose answer was lost may have created the refund.
      const created = await this.findAtStripe(refund);
      if (created !== null) return this.apply(refund, created);
      await this.fail(refund, error.providerCode);
      throw error;
    }
  }

  /** Applies the present state of the refund at Stripe. When it failed, the credit returns to the wallet. */
  async apply(refund: Refund, reported: ProviderRefund): Promise<void> {
    const facts = { stripeRefundId: reported.id };
    const ending = ENDINGS.get(reported.status ?? '');
    if (ending === 'failed') return this.fail(refund, reported.failureReason ?? reported.status, reported.id);
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
   * have prevented the booking.
   */
  private async fail(refund: Refund, failureCode: string | null, stripeRefundId?: string): Promise<void> {
    const topUp = await this.topUps.find(refund.accountId, refund.topUpId);
    if (topUp === null) throw new Error(`${refund.id} is of ${refund.topUpId}, which does not exist`);
    const facts = stripeRefundId === undefined ? { failureCode } : { failureCode, stripeRefundId };
    await this.refunds.decideFailure(topUp, refund, facts);
    await this.booking.bookAll(topUp);
    await this.refunds.note(refund);
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
