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
import { MovementBooking } from '../disputes/movement-booking.service.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { writeOffReference } from '../top-ups/write-off-reference.js';
import { isMadeAtStripe, toBookingFingerprint, type Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';

/** What Stripe says in the end; `null` while it has not made up its mind. */
const ENDINGS: ReadonlyMap<string, 'succeeded' | 'failed'> = new Map([
  ['succeeded', 'succeeded'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
]);

/**
 * Takes a refund one step after the other to where Stripe says it is: credit out of the wallet, then Stripe, then
 * its last word. Each step may be repeated by any process at any time: the ledger knows the references
 * `refund:<id>` and `refund:<id>:failed`, Stripe knows the idempotency key.
 */
@Injectable()
export class RefundSettlement {
  private readonly logger = new Logger(RefundSettlement.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly engine: WalletEngine,
    private readonly refunds: RefundRepository,
    private readonly topUps: TopUpRepository,
    private readonly booking: MovementBooking,
  ) {}

  /**
   * Takes the credit out of the wallet, so that it cannot be spent while the money goes back. Throws
   * `InsufficientCreditsError` when the wallet does not have it; then nothing moved. Of a refund that somebody made at
   * Stripe the money is gone: what the wallet does not have becomes debt, and it freezes for that.
   */
  async reserve(refund: Refund): Promise<void> {
    await this.engine.execute({
      type: 'clawBack',
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
   * Asks Stripe, and acts on its answer. `mayBeThere`: an earlier attempt may have reached Stripe so long ago that
   * it has forgotten the idempotency key; then it is looked for first.
   * Throws `PaymentRequestRefusedError` after the credit was given back, or `PaymentsUnavailableError`.
   */
  async submit(refund: Refund, mayBeThere: boolean): Promise<void> {
    const made = mayBeThere ? await this.findAtStripe(refund) : null;
    if (made !== null) return this.follow(refund, made);
    try {
      const { id: refundId, topUpId, accountId, paymentIntentId, amountCents } = refund;
      const asked = { refundId, topUpId, accountId, paymentIntentId, amountCents };
      await this.follow(refund, await this.gateway.createRefund(asked, `refund:${refundId}`));
    } catch (error) {
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
      // It may have been made after all, by an attempt whose answer was lost.
      const after = await this.findAtStripe(refund);
      if (after !== null) return this.follow(refund, after);
      await this.fail(refund, error.providerCode);
      throw error;
    }
  }

  /** Moves the refund to where Stripe's own one stands, and the credit back when it failed. */
  async follow(refund: Refund, made: ProviderRefund): Promise<void> {
    const facts = { stripeRefundId: made.id };
    const ending = ENDINGS.get(made.status ?? '');
    if (ending === 'failed') return this.fail(refund, made.failureReason ?? made.status, made.id);
    if (await this.refunds.move(refund, ending ?? 'pending', facts)) {
      this.logger.log(`${refund.id} is ${ending ?? 'pending'} (${made.id}).`);
      return;
    }
    await this.refunds.note(refund);
  }

  /**
   * Decides the failure, and books it with all else that is decided of the payment. Where it was decided before, a crash may have
   * come before the booking.
   */
  private async fail(refund: Refund, failureCode: string | null, stripeRefundId?: string): Promise<void> {
    const topUp = await this.topUps.find(refund.accountId, refund.topUpId);
    if (topUp === null) throw new Error(`${refund.id} is of ${refund.topUpId}, which is unknown`);
    const facts = stripeRefundId === undefined ? { failureCode } : { failureCode, stripeRefundId };
    await this.refunds.decideFailure(topUp, refund, facts);
    await this.booking.bookAll(topUp);
    await this.refunds.note(refund);
  }

  /** Books the failure of a refund after it was decided. */
  async finishFailing({ accountId, topUpId }: Refund): Promise<void> {
    const topUp = await this.topUps.find(accountId, topUpId);
    if (topUp !== null) await this.booking.bookAll(topUp);
  }

  /** Gives up what the refund left as debt, as `DisputeSettlement.writeOff` does. Only one made at Stripe leaves any. */
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
    const made = await this.gateway.listRefunds(paymentIntentId);
    return made.find(({ metadata }) => metadata[METADATA_REFUND] === id) ?? null;
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
