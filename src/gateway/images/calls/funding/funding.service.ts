import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { countExact, times, ZERO, type MicroUsd } from '../../../../platform/common/money.js';
import { DatabaseUnavailableError, ProcessOutdatedError } from '../../../../platform/errors/common.errors.js';
import { formatChargeMemo, type Price } from '../../../../money/pricing/price.js';
import type { Outcome, WalletCommand } from '../../../../money/wallets/rules/command.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import {
  EngineSaturatedError,
  HoldNotFoundError,
  WalletLockedError,
  ProviderKeyAttachedError,
} from '../../../../money/wallets/wallet.errors.js';
import { HOLD_LIFETIME_MS } from '../generation-limits.js';
import {
  toHoldReference,
  type Payer,
  type WalletFundedGeneration,
  getBillingMode,
  type Generation,
} from '../records/generation.js';
import { PriceBookService } from '../../../../money/pricing/price-book.service.js';
import type { Caller } from '../caller.js';
import { nothingCharged } from '../generation.errors.js';
import type { ImageRequest } from '../image-request.js';
import { Upstreams } from '../../providers/configured-providers.js';
import type { Charge, Funding, HoldTerms, ChosenFunding } from './funding.js';
import { FreeFundingService } from './free-funding.service.js';
import { ProviderKeyFundingService, type OwnKey } from './provider-key-funding.service.js';

/** The engine's queue holds about one second of work. */
const DELAYS_MS = [100, 300, 1_000, 3_000] as const;

/**
 * This is as long as the engine waits for a database that is unavailable. By then a slow commit has ended, and so has the lock of a
 * process that was suspended; any other lock on the wallet may last for hours.
 */
const PERSIST_MS_MAX = 10_000;

/** A generation that the wallet pays for. */
export type HeldGeneration = WalletFundedGeneration & { readonly holdId: string };

/** Holds the price of all images, then captures the price of the delivered ones. Its types accept no BYOK call. */
@Injectable()
export class WalletFundingService implements Funding {
  private readonly logger = new Logger(WalletFundingService.name);

  constructor(private readonly engine: WalletEngine) {}

  async authorize(generation: HeldGeneration, { actor, attempt, unlessOwnKeyAt }: HoldTerms): Promise<void> {
    const { accountId, id, apiKeyId, imagesRequested, fingerprint, createdAtMs } = generation;
    await this.engine.execute({
      type: 'authorize',
      accountId,
      actor,
      keyId: apiKeyId,
      holdId: requireHold(generation),
      reference: toHoldReference(id),
      // A retry finds the hold of an attempt whose row is not written yet by this fingerprint of the request.
      fingerprint,
      memo: toMemo(generation, imagesRequested),
      amountMicros: toCost(generation, imagesRequested),
      expiresAtMs: createdAtMs + HOLD_LIFETIME_MS,
      attempt,
      unlessOwnKeyAt,
    });
  }

  async capture(generation: HeldGeneration, images: number, actor: string): Promise<Charge> {
    const hold = { accountId: generation.accountId, holdId: requireHold(generation), actor };
    const command: WalletCommand =
      images === 0
        ? { ...hold, type: 'void' }
        : {
            ...hold,
            type: 'capture',
            amountMicros: toCost(generation, images),
            memo: toMemo(generation, images),
          };
    try {
      return this.toCharge(generation, images, await this.persist(command));
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
  private toCharge({ priceMicros }: HeldGeneration, images: number, outcome: Outcome): Charge {
    if (outcome.type !== 'hold' && outcome.type !== 'already_resolved') {
      throw new Error(`expected a resolved hold, not ${outcome.type}`);
    }
    const { capturedMicros, status } = outcome.hold;
    const imagesPaid = countExact(capturedMicros, priceMicros);
    if (imagesPaid !== images) {
      this.logger.warn(
        { event: 'hold.resolved_elsewhere', hold: outcome.hold.id, status, imagesPaid, images },
        'Another process has resolved the hold of this call; what it charged is final',
      );
    }
    const { availableMicros } = outcome.balances;
    return { holdFound: true, imagesPaid, chargedMicros: capturedMicros, availableMicros };
  }
}

/** The type says so already; a call that reached this place by another route must not be charged to a wallet. */
function requireHold({ id, providerKeyId, holdId }: Payer & Pick<HeldGeneration, 'id'>): string {
  if (providerKeyId !== null || holdId === null) throw new Error(`the wallet does not pay for ${id}`);
  return holdId;
}

function toCost({ priceMicros }: HeldGeneration, images: number): MicroUsd {
  return times(priceMicros, images);
}

function toMemo({ model, priceId }: HeldGeneration, images: number): string {
  return formatChargeMemo({ model, images, priceId });
}

/** Whether another attempt may succeed. A process that is too old for the database is refused every time. */
function isTransient(error: unknown): boolean {
  if (error instanceof EngineSaturatedError || error instanceof WalletLockedError) return true;
  return error instanceof DatabaseUnavailableError && !(error instanceof ProcessOutdatedError);
}

/** Each attempt finds a provider key that did not exist before, and an account has few keys. */
const ATTEMPTS_MAX = 10;

/**
 * Chooses who pays for a call: the customer's own provider key when there is one for the model, no one when the model is free, and
 * the wallet otherwise. No call is paid by two of them.
 */
@Injectable()
export class FundingService {
  constructor(
    private readonly providerKeys: ProviderKeyFundingService,
    private readonly free: FreeFundingService,
    private readonly wallet: WalletFundingService,
    private readonly prices: PriceBookService,
    private readonly upstreams: Upstreams,
  ) {}

  /**
   * Chooses a provider key if this process knows of one. Otherwise the commit that sets credit aside checks for a key that another
   * process has attached (`ProviderKeyAttachedError`). Rejects with a `Problem`, before anything was charged.
   *
   * @param fellBackFrom the BYOK call that was refused and that this call replaces. The refused key is still attached then, and must
   * not prevent the hold.
   */
  async choose(
    request: ImageRequest,
    caller: Caller,
    fellBackFrom: string | null = null,
  ): Promise<ChosenFunding> {
    const { id, routes, keyedRoutes } = request.model;
    const isReplacement = fellBackFrom !== null;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      let own: OwnKey | null = null;
      let price: Price;
      try {
        if (!isReplacement) own = await this.providerKeys.find(request, caller);
        if (own !== null) return await this.providerKeys.choose(request, own);
        price = await this.prices.requirePrice(id);
      } catch (error) {
        throw nothingCharged(error, own?.key.id ?? null);
      }
      const isFree = price.amountMicros === 0n;
      const unlessOwnKeyAt = isReplacement ? [] : keyedRoutes.map(({ provider }) => provider);
      const upstream = { routes, source: this.upstreams.ours };
      const chosen = { price, upstream, providerKey: null, unlessOwnKeyAt, fellBackFrom };
      if (!isFree) return { ...chosen, mode: 'wallet', funding: this.wallet };
      const admission = await this.free.admit(request, caller, unlessOwnKeyAt);
      if (admission === 'admitted') return { ...chosen, mode: 'free', funding: this.free };
      this.forgetKeys(caller);
    }
    throw new ProviderKeyAttachedError();
  }

  /** Must be called when a key was attached that this process did not know of. */
  forgetKeys(caller: Caller): void {
    this.providerKeys.forget(caller);
  }

  /** Returns the funding of a call that was started earlier, perhaps by a process that is dead now. */
  forStartedCall(generation: Generation): Funding {
    switch (getBillingMode(generation)) {
      case 'wallet':
        return this.wallet;
      case 'byok':
        return this.providerKeys;
      case 'free':
        return this.free;
    }
  }
}
