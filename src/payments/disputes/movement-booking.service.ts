import { Injectable, Logger } from '@nestjs/common';
import { newId } from '../../platform/common/ids.js';
import { formatMicros, negate } from '../../platform/common/money.js';
import type { NewFreeze } from '../../money/wallets/rules/command.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { FailedRefundBookingService } from '../refunds/failed-refund-booking.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import type { Dispute } from './dispute.entity.js';
import type { DisputeMovement } from './dispute-movement.entity.js';
import { isFirstOfItsKind, isTaking } from './dispute-movement.rules.js';
import { DisputeMovementRepository } from './dispute-movement.repository.js';
import { DisputeRepository } from './dispute.repository.js';

/**
 * Books what disputes and failed refunds of a payment moved, each once under its own reference, in the order in which it was decided.
 * In another order, money that is beyond the payment only until a refund fails would come back before that refund, as nothing.
 */
@Injectable()
export class MovementBookingService {
  private readonly logger = new Logger(MovementBookingService.name);

  constructor(
    private readonly engine: WalletEngine,
    private readonly disputes: DisputeRepository,
    private readonly movements: DisputeMovementRepository,
    private readonly failedRefunds: FailedRefundBookingService,
  ) {}

  /**
   * Books what is decided of the payment, and what disputes took beyond it as far as other money of it came back since. Any
   * process may repeat it at any time, because the ledger knows the references.
   */
  async bookAll(topUp: TopUp): Promise<void> {
    await this.bookDecided(topUp);
    // What a process of an earlier release booked may still need its cover.
    await this.movements.cover(topUp);
    await this.bookDecided(topUp);
  }

  private async bookDecided(topUp: TopUp): Promise<void> {
    for (const decided of await this.movements.findUnbooked(topUp)) {
      if (decided.type === 'failed_refund') await this.failedRefunds.book(decided.refund);
      else await this.bookMovement(topUp, decided.dispute, decided.movement);
    }
  }

  private async bookMovement(topUp: TopUp, dispute: Dispute, movement: DisputeMovement): Promise<void> {
    if (isTaking(movement)) await this.take(topUp, dispute, movement);
    else await this.giveBack(dispute, movement);
    await this.disputes.noteBooked(dispute, movement);
  }

  private async take(topUp: TopUp, dispute: Dispute, movement: DisputeMovement): Promise<void> {
    const { creditMicros, feeMicros, taxMicros, excessMicros, reference, amountCents } = movement;
    const { accountId, id, reason } = dispute;
    const covered = `Money of ${topUp.id} came back, and ${id} had taken it`;
    await this.engine.execute({
      type: 'reverseCredit',
      cause: 'dispute',
      accountId,
      actor: 'stripe',
      reference,
      fingerprint: toFingerprint(movement),
      memo: amountCents === 0n ? covered : `Dispute ${id}, ${reason}`,
      lotId: topUp.lotId,
      amountMicros: negate(creditMicros),
      feeMicros: negate(feeMicros),
      taxMicros: negate(taxMicros),
      excessMicros: negate(excessMicros),
      freeze: toDisputeFreeze(id),
    });
    this.logger.warn(
      { event: 'dispute.credit_taken', dispute: id, topUp: topUp.id, reference },
      'A dispute took its credit out of the wallet',
    );
    if (excessMicros < 0n)
      this.logger.error(
        {
          event: 'dispute.beyond_payment',
          dispute: id,
          topUp: topUp.id,
          excessMicros: formatMicros(negate(excessMicros)),
        },
        'A dispute took more than was left of its payment; the rest is a loss',
      );
  }

  private async giveBack({ accountId, id }: Dispute, movement: DisputeMovement): Promise<void> {
    const { creditMicros, feeMicros, taxMicros, excessMicros, reference } = movement;
    await this.engine.execute({
      type: 'reinstate',
      accountId,
      actor: 'stripe',
      reference,
      fingerprint: toFingerprint(movement),
      memo: isFirstOfItsKind(movement) ? `Dispute ${id} won` : `Money of dispute ${id} came back`,
      lotId: movement.lotId ?? newId('creditLot'),
      givenLotId: newId('creditLot'),
      amountMicros: creditMicros,
      feeMicros,
      taxMicros,
      excessMicros,
    });
  }
}

export function toDisputeFreeze(id: string): NewFreeze {
  const reason = `dispute ${id}`;
  const source = { source: 'dispute', sourceId: id } as const;
  return { ...source, id: newId('freeze'), statusChangeId: newId('statusChange'), reason };
}

/** Without tax and excess it is as it was before they existed, so that what an older version began is the same request. */
function toFingerprint({
  creditMicros,
  feeMicros,
  taxMicros,
  excessMicros,
  amountCents,
}: DisputeMovement): string {
  const [credit, fee, tax, excess] = [creditMicros, feeMicros, taxMicros, excessMicros].map((part) =>
    amountCents <= 0n ? negate(part) : part,
  );
  const beyond = excess === 0n ? '' : `:beyond:${excess}`;
  return `${credit}:${fee}${tax === 0n ? '' : `:${tax}`}${beyond}`;
}
