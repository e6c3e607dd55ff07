import { hash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { actorName, type AuditActor } from '../../identity/audit-log/audit-event.js';
import {
  cents,
  divFloor,
  MICROS_PER_CENT,
  type MicroUsd,
  type UsdCents,
} from '../../platform/common/money.js';
import { DAY_MS } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from '../stripe/payments.errors.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { InsufficientCreditsError } from '../../money/wallets/wallet.errors.js';
import { WalletReaderService } from '../../money/wallets/wallet-reader.service.js';
import { isOpen } from '../disputes/dispute.machine.js';
import { DisputeMovementRepository } from '../disputes/dispute-movement.repository.js';
import { DisputeRepository } from '../disputes/dispute.repository.js';
import { IdempotencyKeyReusedError } from '../top-ups/top-up.errors.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpsService } from '../top-ups/top-ups.service.js';
import { partsFor, type Parts } from '../../money/wallets/rules/payment-parts.js';
import { RefundSettlementService } from './refund-settlement.service.js';
import {
  RefundExceedsCreditError,
  RefundRefusedError,
  RefundWindowOverError,
  TopUpNotRefundableError,
} from './refund.errors.js';
import { newRefund, type Refund, type RefundPreview } from './refund.js';
import { RefundRepository } from './refund.repository.js';
import { paidFor } from './returned-money.js';

export type NewRefundRequest = {
  readonly accountId: string;
  readonly topUpId: string;
  /** The credit to refund; the fee's share is added. Null refunds all that can be refunded. */
  readonly creditCents: number | null;
  readonly reason: string | null;
  readonly by: AuditActor;
  /** Customers may request a refund within the window only. */
  readonly asked: 'by_customer' | 'by_operator';
  readonly idempotencyKey: string | null;
};

/** Previews and starts refunds of unspent bought credit. */
@Injectable()
export class RefundsService {
  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly clock: DatabaseClock,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly topUps: TopUpsService,
    private readonly wallets: WalletReaderService,
    private readonly refunds: RefundRepository,
    private readonly disputes: DisputeRepository,
    private readonly movements: DisputeMovementRepository,
    private readonly settlement: RefundSettlementService,
  ) {}

  /** Computes a refund and moves nothing. Throws what `start` would throw now. */
  async preview(request: NewRefundRequest): Promise<RefundPreview> {
    return this.computePreview(await this.requireRefundable(request), request);
  }

  /**
   * Starts a refund. The same idempotency key and request return the same refund again. Resolves when Stripe has accepted it, or when its
   * answer is unknown: then the status is `created`, the credit has left the wallet, and the job continues.
   * Throws `TopUpNotRefundableError`, `RefundWindowOverError`, `RefundExceedsCreditError`, `RefundRefusedError`.
   */
  async start(request: NewRefundRequest): Promise<{ readonly refund: Refund; readonly replayed: boolean }> {
    const known = await this.findKnown(request);
    if (known !== null) return { refund: known, replayed: true };
    const topUp = await this.requireRefundable(request);
    const { parts, refundableCents } = await this.computePreview(topUp, request);
    const now = new Date(await this.clock.nowMs());
    const make = (returned: Parts): Refund | null => {
      const exact = partsFor(parts.creditCents, paidFor(topUp), returned);
      return exact === null ? null : this.toRefund(request, topUp, exact, now);
    };
    const made = await this.refunds.insert(topUp, make, request.by);
    if (made === null) throw new RefundExceedsCreditError(refundableCents);
    if (made === 'taken') {
      const winner = await this.findKnown(request);
      if (winner === null)
        throw new Error(`the idempotency key of a refund of ${topUp.id} is used, but no refund has it`);
      return { refund: winner, replayed: true };
    }
    await this.carryOut(made, topUp);
    return { refund: (await this.refunds.find(made.accountId, made.id)) ?? made, replayed: false };
  }

  async list(accountId: string, topUpId: string): Promise<readonly Refund[]> {
    return this.refunds.findByTopUp(await this.topUps.require(accountId, topUpId));
  }

  /** Throws `ResourceMissingError` unless the refund belongs to this account. */
  async require(accountId: string, id: string): Promise<Refund> {
    const refund = await this.refunds.find(accountId, id);
    if (refund === null) throw new ResourceMissingError('refund', id);
    return refund;
  }

  /**
   * Writes off the debt that a refund made at Stripe left. Returns how much it is or, with the same idempotency key, was; zero when
   * nothing is owed.
   */
  async writeOff(
    accountId: string,
    id: string,
    by: AuditActor,
    idempotencyKey: string | null,
  ): Promise<MicroUsd> {
    return this.settlement.writeOff(await this.require(accountId, id), by, idempotencyKey);
  }

  private async computePreview(
    topUp: TopUp,
    { creditCents: wished }: NewRefundRequest,
  ): Promise<RefundPreview> {
    const paid = paidFor(topUp);
    const returned = await this.refunds.countReturned(topUp);
    const refundableCents = await this.refundable(topUp, returned);
    const creditCents = wished === null ? refundableCents : cents(BigInt(wished));
    const parts = creditCents > refundableCents ? null : partsFor(creditCents, paid, returned);
    if (parts === null) throw new RefundExceedsCreditError(refundableCents);
    const creditLeftCents = cents(paid.creditCents - returned.creditCents - creditCents);
    return { refundableCents, parts, creditLeftCents };
  }

  private async carryOut(refund: Refund, topUp: TopUp): Promise<void> {
    try {
      await this.settlement.carryOut(refund);
    } catch (error) {
      if (error instanceof InsufficientCreditsError) {
        // The credit was spent since it was counted, a moment ago.
        const left = await this.refundable(topUp, await this.refunds.countReturned(topUp));
        throw new RefundExceedsCreditError(left);
      }
      if (error instanceof PaymentRequestRefusedError) {
        throw new RefundRefusedError(refund.id, error.providerCode, error);
      }
      // The credit has left the wallet, and the job continues the refund, so it is under way and not refused.
      if (!(error instanceof PaymentsUnavailableError)) throw error;
    }
  }

  private async requireRefundable({ accountId, topUpId, asked }: NewRefundRequest): Promise<TopUp> {
    const topUp = await this.topUps.require(accountId, topUpId);
    if (topUp.status !== 'paid' || topUp.paidAt === null) {
      throw new TopUpNotRefundableError(topUpId, `it is ${topUp.status}`);
    }
    if (topUp.paymentIntentId === null || topUp.livemode !== this.gateway.livemode) {
      throw new TopUpNotRefundableError(topUpId, 'its payment cannot be reached');
    }
    const disputes = await this.disputes.findByAccount(accountId);
    if (disputes.some((dispute) => dispute.topUpId === topUpId && isOpen(dispute.status))) {
      throw new TopUpNotRefundableError(topUpId, 'it is disputed');
    }
    // Between the bookings of one return, the wallet can have credit that a dispute takes in the next moment.
    if ((await this.movements.countDecisions(accountId)).open > 0)
      throw new TopUpNotRefundableError(
        topUpId,
        'a dispute or another refund of the account is being booked, try again in a minute',
      );
    const { refundWindowDays } = this.settings;
    const isOver = (await this.clock.nowMs()) - topUp.paidAt.getTime() > refundWindowDays * DAY_MS;
    if (asked === 'by_customer' && isOver) throw new RefundWindowOverError(topUpId, refundWindowDays);
    return topUp;
  }

  /** Whole cents, rounded down, because Stripe cannot refund a fraction of a cent. */
  private async refundable(topUp: TopUp, returned: Parts): Promise<UsdCents> {
    const { available, lots } = await this.wallets.read(topUp.accountId);
    const bought = lots.filter((lot) => lot.refundable);
    const unspent = bought.reduce((sum, lot) => sum + BigInt(lot.remaining_micros), 0n);
    const left = paidFor(topUp).creditCents - returned.creditCents;
    const free = smallest(unspent, BigInt(available), left * MICROS_PER_CENT);
    return cents(divFloor(free < 0n ? 0n : free, MICROS_PER_CENT));
  }

  private async findKnown(request: NewRefundRequest): Promise<Refund | null> {
    const { accountId, idempotencyKey } = request;
    const known = idempotencyKey === null ? null : await this.refunds.findByKey(accountId, idempotencyKey);
    if (known !== null && known.fingerprint !== toRequestFingerprint(request))
      throw new IdempotencyKeyReusedError();
    return known;
  }

  private toRefund(request: NewRefundRequest, topUp: TopUp, parts: Parts, now: Date): Refund {
    if (topUp.paymentIntentId === null) throw new Error(`${topUp.id} names no payment`);
    const origin = {
      paymentIntentId: topUp.paymentIntentId,
      reason: request.reason,
      stripeRefundId: null,
      idempotencyKey: request.idempotencyKey,
      fingerprint: toRequestFingerprint(request),
      createdBy: actorName(request.by),
    };
    return newRefund(topUp, parts, origin, now);
  }
}

function smallest(first: bigint, ...others: readonly bigint[]): bigint {
  return others.reduce((least, each) => (each < least ? each : least), first);
}

/** A digest of the client's request, without what we add. */
function toRequestFingerprint({ topUpId, creditCents, reason }: NewRefundRequest): string {
  return hash('sha256', JSON.stringify([topUpId, creditCents, reason]), 'hex');
}
