import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { countExact, times, ZERO, type MicroUsd } from '../../../../platform/common/money.js';
import type { KeyedProvider } from '../../../provider-keys/keyed-provider.js';
import { DatabaseUnavailableError, ProcessOutdatedError } from '../../../../platform/errors/common.errors.js';
import { formatChargeMemo } from '../../../../money/pricing/price.js';
import type { Outcome } from '../../../../money/wallets/rules/outcome.js';
import type { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import type { WalletCommand } from '../../../../money/wallets/rules/command.js';
import {
  EngineSaturatedError,
  HoldNotFoundError,
  WalletLockedError,
} from '../../../../money/wallets/wallet.errors.js';
import { HOLD_LIFETIME_MS } from '../generation-limits.js';
import { toHoldReference } from './hold-names.js';
import type { WalletFundedGeneration } from '../records/generation.js';
import type { Attempt, Payment, Settlement } from './payment.js';

/** The engine's queue holds about one second of work. */
const DELAYS_MS = [100, 300, 1_000, 3_000] as const;

/**
 * This is as long as the engine waits for a database that is unavailable. By then a slow commit has ended, and so has the lock of a
 * process that was suspended; any other lock on the wallet may last for hours.
 */
const PERSIST_MS_MAX = 10_000;

/** The parts of a generation that its payment needs. */
export type Payable = Pick<
  WalletFundedGeneration,
  | 'accountId'
  | 'id'
  | 'apiKeyId'
  | 'model'
  | 'priceId'
  | 'priceMicros'
  | 'imagesRequested'
  | 'fingerprint'
  | 'createdAtMs'
> & { readonly holdId: string; readonly providerKeyId: null };

/** Holds the price of all images, then captures the price of the delivered ones. */
export class WalletPayment implements Payment {
  private readonly logger = new Logger(WalletPayment.name);

  constructor(
    private readonly engine: WalletEngine,
    private readonly generation: Payable,
    private readonly actor: string,
    private readonly unlessOwnKeyAt: readonly KeyedProvider[],
  ) {}

  async authorize(attempt: Attempt | null): Promise<void> {
    const { accountId, id, apiKeyId, holdId, imagesRequested, fingerprint, createdAtMs } = this.generation;
    await this.engine.execute({
      type: 'authorize',
      accountId,
      actor: this.actor,
      keyId: apiKeyId,
      holdId,
      reference: toHoldReference(id),
      // A retry finds the hold of an attempt whose row is not written yet by this fingerprint of the request.
      fingerprint,
      memo: this.memo(imagesRequested),
      amountMicros: this.costFor(imagesRequested),
      expiresAtMs: createdAtMs + HOLD_LIFETIME_MS,
      attempt,
      unlessOwnKeyAt: this.unlessOwnKeyAt,
    });
  }

  async settle(images: number): Promise<Settlement> {
    const { accountId, holdId } = this.generation;
    const addressed = { accountId, holdId, actor: this.actor };
    try {
      return this.toSettlement(
        await this.persist(
          images === 0
            ? { ...addressed, type: 'void' }
            : { ...addressed, type: 'capture', amountMicros: this.costFor(images), memo: this.memo(images) },
        ),
        images,
      );
    } catch (error) {
      if (error instanceof HoldNotFoundError) {
        return { holdFound: false, imagesPaid: 0, chargedMicros: ZERO, availableMicros: null };
      }
      throw error;
    }
  }

  /**
   * Retries for as long as any caller waits for the database. New calls are refused while the engine's queue is full, the wallet is
   * locked or commits are slow, but a call whose images are made has to wait. A hold is resolved once, so a command may be sent
   * again when it is not known whether its commit succeeded.
   */
  private async persist(command: WalletCommand): Promise<Outcome> {
    const giveUpAtMs = performance.now() + PERSIST_MS_MAX;
    for (const delayMs of DELAYS_MS) {
      try {
        return await this.engine.execute(command);
      } catch (error) {
        if (!isTransient(error) || performance.now() + delayMs >= giveUpAtMs) throw error;
        await sleep(delayMs);
      }
    }
    return this.engine.execute(command);
  }

  /** Reads what was paid from the hold itself, because it is resolved only once, perhaps by another process. */
  private toSettlement(outcome: Outcome, images: number): Settlement {
    if (outcome.type !== 'hold' && outcome.type !== 'already_resolved') {
      throw new Error(`expected a resolved hold, not ${outcome.type}`);
    }
    const { capturedMicros, status } = outcome.hold;
    const imagesPaid = countExact(capturedMicros, this.generation.priceMicros);
    if (imagesPaid !== images) {
      this.logger.warn(
        { event: 'hold.resolved_elsewhere', hold: outcome.hold.id, status, imagesPaid, images },
        'Another process has resolved the hold of this call; its settlement is final',
      );
    }
    const { availableMicros } = outcome.balances;
    return { holdFound: true, imagesPaid, chargedMicros: capturedMicros, availableMicros };
  }

  private costFor(images: number): MicroUsd {
    return times(this.generation.priceMicros, images);
  }

  private memo(images: number): string {
    const { model, priceId } = this.generation;
    return formatChargeMemo({ model, images, priceId });
  }
}

/** Whether another attempt may succeed. A process that is too old for the database is refused every time. */
function isTransient(error: unknown): boolean {
  if (error instanceof EngineSaturatedError || error instanceof WalletLockedError) return true;
  return error instanceof DatabaseUnavailableError && !(error instanceof ProcessOutdatedError);
}
