import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId, newId } from '../../platform/common/ids.js';
import { divExact, micros, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { runStatement, type Statement } from '../../platform/database/pipeline.js';
import { PriceBookService } from '../pricing/price-book.service.js';
import { parseChargeMemo, type ChargeMemo } from '../pricing/price.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import type { Outcome } from '../wallets/rules/command.js';
import type { Hold } from '../wallets/rules/wallet.js';
import {
  AmountExceedsHoldError,
  HoldAlreadyResolvedError,
  HoldNotFoundError,
} from '../wallets/wallet.errors.js';
import { WalletEngine } from '../wallets/wallet-engine.js';
import { priceCharge } from './debits.service.js';
import { HOLD_SECONDS_DEFAULT, type CaptureRequest, type HoldRequest, type HoldView } from './debit.dto.js';

type StoredHold = {
  readonly accountId: string;
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
};

/** The prefix of the references of an external gateway's holds. A running image call has holds too, and only that call may end them. */
const GATEWAY_REFERENCE = 'hold:';

const FIND_HOLD: Statement = {
  name: 'find_hold',
  text: `SELECT account_id, amount_micros, memo FROM holds WHERE id = $1 AND starts_with(reference, '${GATEWAY_REFERENCE}')`,
};

/** Holds for an external gateway: it authorizes credit, and then captures what was delivered or voids the hold. */
@Injectable()
export class HoldsService {
  constructor(
    private readonly engine: WalletEngine,
    private readonly prices: PriceBookService,
    private readonly dataSource: DataSource,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  async authorize(request: HoldRequest, actor: string): Promise<HoldView> {
    const charge = await priceCharge(this.prices, request);
    const seconds = request.expires_in_seconds ?? HOLD_SECONDS_DEFAULT;
    const outcome = await this.engine.execute({
      type: 'authorize',
      accountId: request.account,
      actor,
      keyId: null,
      reference: `${GATEWAY_REFERENCE}${request.reference}`,
      fingerprint: `${charge.fingerprint}|${seconds}`,
      memo: charge.memo,
      holdId: newId('hold'),
      amountMicros: charge.amountMicros,
      expiresAtMs: this.clock.nowMs() + seconds * 1_000,
    });
    return toHoldView(request.account, outcome);
  }

  /** Throws `HoldAlreadyResolvedError` (409) when the hold was resolved differently, or with another amount. */
  async capture(holdId: string, request: CaptureRequest, actor: string): Promise<HoldView> {
    const hold = await this.find(holdId);
    const amountMicros = amountToCapture(hold, request);
    const outcome = await this.engine.execute({
      type: 'capture',
      accountId: hold.accountId,
      actor,
      holdId,
      amountMicros,
      memo: null,
    });
    return toHoldView(hold.accountId, outcome);
  }

  async void(holdId: string, actor: string): Promise<HoldView> {
    const { accountId } = await this.find(holdId);
    return toHoldView(accountId, await this.engine.execute({ type: 'void', accountId, actor, holdId }));
  }

  /** Finds the account of a hold, which the engine needs and the caller does not send. This read never decides about money. */
  private async find(holdId: string): Promise<StoredHold> {
    const rows = isId('hold', holdId)
      ? await runStatement<{ account_id: string; amount_micros: string; memo: string | null }>(
          this.dataSource,
          FIND_HOLD,
          [holdId],
        )
      : [];
    const row = rows[0];
    if (row === undefined) throw new HoldNotFoundError(holdId);
    return { accountId: row.account_id, amountMicros: micros(BigInt(row.amount_micros)), memo: row.memo };
  }
}

function amountToCapture(hold: StoredHold, request: CaptureRequest): MicroUsd {
  if (request.amount_micros != null && request.images != null) {
    throw new InvalidRequestError('Send images or amount_micros, not both.', 'amount_micros');
  }
  if (request.amount_micros != null) return micros(BigInt(request.amount_micros));
  if (request.images == null) return hold.amountMicros;
  const charge = parseChargeMemo(hold.memo);
  if (charge === null) {
    throw new InvalidRequestError(
      'This hold was created with an amount. Nothing was captured. Capture it with amount_micros.',
      'images',
    );
  }
  if (request.images > charge.images) throw new AmountExceedsHoldError(hold.amountMicros);
  return computePartOfHold(hold.amountMicros, charge, request.images);
}

/**
 * Computes what `images` of a hold's images cost, at the price that the hold was created with. The result is exact, because
 * the hold is a whole number of images at one price.
 */
function computePartOfHold(holdMicros: MicroUsd, charge: ChargeMemo, images: number): MicroUsd {
  return micros(divExact(holdMicros, BigInt(charge.images)) * BigInt(images));
}

function toHoldView(account: string, outcome: Outcome): HoldView {
  if (outcome.type === 'already_resolved') {
    const { id, status, capturedMicros } = outcome.hold;
    throw new HoldAlreadyResolvedError(id, status, capturedMicros);
  }
  if (outcome.type !== 'hold') throw new Error(`expected a hold, not ${outcome.type}`);
  const { hold, replayed, balances } = outcome;
  return {
    object: 'hold',
    id: hold.id,
    account,
    reference: publicReference(hold),
    status: hold.status,
    amount_micros: hold.amountMicros.toString(),
    captured_micros: hold.capturedMicros.toString(),
    replayed,
    available_micros: balances.availableMicros.toString(),
    held_micros: balances.heldMicros.toString(),
    posted_micros: balances.postedMicros.toString(),
    expires_at: Math.trunc(hold.expiresAtMs / 1_000),
    created: Math.trunc(hold.createdAtMs / 1_000),
  };
}

function publicReference(hold: Hold): string {
  return hold.reference.slice(GATEWAY_REFERENCE.length);
}
