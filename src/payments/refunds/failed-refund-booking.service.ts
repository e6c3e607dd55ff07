import { Injectable, Logger } from '@nestjs/common';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { WalletInDebtError } from '../../money/wallets/wallet.errors.js';
import { newId } from '../../platform/common/ids.js';
import { isMadeAtStripe, toBookingFingerprint, type Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';

/** Returns the credit of a refund whose failure is decided. */
@Injectable()
export class FailedRefundBookingService {
  private readonly logger = new Logger(FailedRefundBookingService.name);

  constructor(
    private readonly engine: WalletEngine,
    private readonly refunds: RefundRepository,
  ) {}

  /**
   * The wallet comes first and the row second: if a crash separates the two, the repetition finds the reference in the ledger. Any
   * process may repeat it at any time.
   */
  async book(refund: Refund): Promise<void> {
    await this.reinstate(refund);
    if (isMadeAtStripe(refund)) await this.unfreeze(refund);
    if (!(await this.refunds.move(refund, 'failed'))) return;
    this.logger.warn(
      { event: 'refund.failed', refund: refund.id, failureCode: refund.failureCode },
      'A refund failed and its credit is in the wallet again',
    );
  }

  /** Returns the credit alone. */
  async reinstate(refund: Refund): Promise<void> {
    await this.engine.execute({
      type: 'reinstate',
      accountId: refund.accountId,
      actor: 'stripe',
      reference: `refund:${refund.id}:failed`,
      fingerprint: toBookingFingerprint(refund),
      memo: `Refund ${refund.id} failed`,
      lotId: refund.returnLotId,
      givenLotId: newId('creditLot'),
      amountMicros: refund.creditMicros,
      feeMicros: refund.feeMicros,
      taxMicros: refund.taxMicros,
      excessMicros: refund.excessMicros,
    });
  }

  /** Removes the refund's own reason. The last reason stays while the wallet owes. */
  private async unfreeze({ accountId, id }: Refund): Promise<void> {
    try {
      const lifts = { source: 'refund', sourceId: id } as const;
      const change = { lifts, reason: `refund ${id} failed`, statusChangeId: newId('statusChange') };
      await this.engine.execute({ type: 'unfreeze', accountId, actor: 'stripe', ...change });
    } catch (error) {
      if (!(error instanceof WalletInDebtError)) throw error;
      this.logger.warn(
        { event: 'wallet.stays_frozen', account: accountId },
        'A wallet stays frozen because it owes',
      );
    }
  }
}
