import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { countExact, times, ZERO, type MicroUsd } from '../../../../platform/common/money.js';
import type { KeyedProvider } from '../../../provider-keys/keyed-provider.js';
import { DatabaseUnavailableError, ProcessOutdatedError } from '../../../../platform/errors/common.errors.js';
import { formatChargeMemo } from '../../../../money/pricing/charge-memo.js';
import type { Outcome } from '../../../../money/wallets/rules/outcome.js';
import type { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import type { WalletCommand } from '../../../../money/wallets/rules/command.js';
import {
  EngineSaturatedError,
  HoldNotFoundError,
  WalletLockedError,
} from '../../../../money/wallets/wallet.errors.js';
import { HOLD_LIFETIME_MS } from '../generation-limits.js';
import { holdReferenceOf } from './hold-names.js';
import type { OrdinaryGeneration } from '../records/generation.js';
import type { Attempt, Payment, Settlement } from './payment.js';

/** The queue is about a second long. */
const DELAYS_MS = [100, 300, 1_000, 3_000] as const;

/**
 * As long as the engine waits for a database that is away. By then a commit that is merely slow is over, and so is the lock of a
 * process that stood still; who else holds the wallet may do so for hours.
 */
const PERSIST_MS_MAX = 10_000;

/** What the payment has to know of a generation. */
export type Payable = Pick<
  OrdinaryGeneration,
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

/** Holds the price of all images, then captures the delivered ones. */
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
      reference: holdReferenceOf(id),
      // Of the whole request: by it a retry finds the hold of an attempt whose row is not written yet.
      fingerprint,
      memo: this.memo(imagesRequested),
      amountMicros: this.costOf(imagesRequested),
      expiresAtMs: createdAtMs + HOLD_LIFETIME_MS,
      attempt,
      unlessOwnKeyAt: this.unlessOwnKeyAt,
    });
  }

  async settle(images: number): Promise<Settlement> {
    const { accountId, holdId } = this.generation;
    const addressed = { accountId, holdId, actor: this.actor };
    try {
      return this.settlementOf(
        await this.persist(
          images === 0
            ? { ...addressed, type: 'void' }
            : { ...addressed, type: 'capture', amountMicros: this.costOf(images), memo: this.memo(images) },
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
   * New calls are turned away while the engine's queue is full, the wallet is locked or commits are slow; one whose images are
   * made waits, for about as long as any caller waits for the database. A hold is resolved once, so a command whose commit was in
   * doubt may be sent again.
   */
  private async persist(command: WalletCommand): Promise<Outcome> {
    const giveUpAtMs = performance.now() + PERSIST_MS_MAX;
    for (const delayMs of DELAYS_MS) {
      try {
        return await this.engine.execute(command);
      } catch (error) {
        if (!mayPass(error) || performance.now() + delayMs >= giveUpAtMs) throw error;
        await sleep(delayMs);
      }
    }
    return this.engine.execute(command);
  }

  /** A hold is resolved once, so its own state says what was paid, whoever resolved it. */
  private settlementOf(outcome: Outcome, images: number): Settlement {
    if (outcome.type !== 'hold' && outcome.type !== 'already_resolved') {
      throw new Error(`expected a resolved hold, not ${outcome.type}`);
    }
    const { capturedMicros, status } = outcome.hold;
    const imagesPaid = countExact(capturedMicros, this.generation.priceMicros);
    if (imagesPaid !== images) {
      this.logger.warn(
        { hold: outcome.hold.id, status, imagesPaid, images },
        'A hold was resolved elsewhere',
      );
    }
    const { availableMicros } = outcome.balances;
    return { holdFound: true, imagesPaid, chargedMicros: capturedMicros, availableMicros };
  }

  private costOf(images: number): MicroUsd {
    return times(this.generation.priceMicros, images);
  }

  private memo(images: number): string {
    const { model, priceId } = this.generation;
    return formatChargeMemo({ model, images, priceId });
  }
}

/** Not what refuses a process that is too old: its next attempt is refused as well. */
function mayPass(error: unknown): boolean {
  if (error instanceof EngineSaturatedError || error instanceof WalletLockedError) return true;
  return error instanceof DatabaseUnavailableError && !(error instanceof ProcessOutdatedError);
}
