import { Injectable } from '@nestjs/common';
import { micros, type MicroUsd } from '../../platform/common/money.js';
import { InternalError, InvalidRequestError } from '../../platform/errors/common.errors.js';
import { Problem, toErrorBody } from '../../platform/errors/problem.js';
import { readDto } from '../../platform/http/validation.pipe.js';
import { PriceBookService } from '../pricing/price-book.service.js';
import { computeCost, formatChargeMemo, parseChargeMemo, type Price } from '../pricing/price.js';
import type { Outcome } from '../wallets/rules/command.js';
import { WalletEngine } from '../wallets/wallet-engine.js';
import {
  DebitRequest,
  type ChargeRequest,
  type DebitBatchView,
  type DebitView,
  type FailedDebitView,
} from './debit.dto.js';

/** Debits for an external gateway. Each reference is charged once, however often it is sent. */
@Injectable()
export class DebitsService {
  constructor(
    private readonly engine: WalletEngine,
    private readonly prices: PriceBookService,
  ) {}

  /** Resolves when the charge is durable. Throws a `Problem` when nothing was charged. */
  async debit(request: DebitRequest, actor: string): Promise<DebitView> {
    const priced = priceCharge(this.prices, request);
    const charge = priced instanceof Promise ? await priced : priced;
    const outcome = await this.engine.execute({
      type: 'debit',
      accountId: request.account,
      actor,
      keyId: null,
      reference: `debit:${request.reference}`,
      fingerprint: charge.fingerprint,
      memo: charge.memo,
      amountMicros: charge.amountMicros,
    });
    return toDebitView(request, charge, outcome);
  }

  /** Each item is validated, decided and answered separately, so one that fails does not affect the others. */
  async debitBatch(items: readonly unknown[], actor: string): Promise<DebitBatchView> {
    const data = await Promise.all(items.map((item) => this.debitItem(item, actor)));
    const failed = data.filter((item) => item.object === 'error').length;
    return { object: 'debit_batch', succeeded: data.length - failed, failed, data };
  }

  private async debitItem(item: unknown, actor: string): Promise<DebitView | FailedDebitView> {
    try {
      return await this.debit(readDto(DebitRequest, item), actor);
    } catch (error) {
      const problem = error instanceof Problem ? error : new InternalError(error);
      return {
        object: 'error',
        reference: findReference(item),
        status: problem.status,
        error: toErrorBody(problem).error,
      };
    }
  }
}

export type PricedCharge = {
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
  /** A digest of the request without its price, because a retry after a price change is still the same request. */
  readonly fingerprint: string;
};

/**
 * Computes what a debit or a hold charges, from a model and a number of images or from an amount. Throws `InvalidRequestError`
 * unless exactly one of the two was given, `ModelNotFoundError` for an unknown model.
 */
export function priceCharge(
  prices: PriceBookService,
  request: ChargeRequest,
): PricedCharge | Promise<PricedCharge> {
  const { model, images, amount_micros: amount, description } = request;
  const fingerprint = JSON.stringify([model ?? null, images ?? null, amount ?? null, description ?? null]);
  if (amount != null) {
    if (model != null || images != null) throw toChooseOneError('amount_micros');
    if (parseChargeMemo(description ?? null) !== null) {
      throw new InvalidRequestError(
        'description has the form of a priced charge and would be counted as one. Nothing was charged. Send model and images instead, or another description.',
        'description',
      );
    }
    return { amountMicros: micros(BigInt(amount)), memo: description ?? null, fingerprint };
  }
  if (model == null) throw toChooseOneError('model');
  if (images == null) throw new InvalidRequestError('images is required together with model.', 'images');
  if (description != null) {
    throw new InvalidRequestError(
      'description is allowed only with amount_micros, because a priced charge has its own. Nothing was charged.',
      'description',
    );
  }
  const toCharge = (price: Price): PricedCharge => ({
    amountMicros: computeCost(price, images),
    memo: formatChargeMemo({ model, images, priceId: price.id }),
    fingerprint,
  });
  // The price is almost always in memory, and a promise would cost this frequent route one iteration of the event loop.
  const known = prices.current(model);
  return known === null ? prices.requirePrice(model).then(toCharge) : toCharge(known);
}

function toChooseOneError(param: string): InvalidRequestError {
  return new InvalidRequestError('Send either model and images, or amount_micros.', param);
}

function findReference(item: unknown): string | null {
  const reference: unknown = item instanceof Object && 'reference' in item ? item.reference : null;
  return typeof reference === 'string' ? reference : null;
}

function toDebitView(request: DebitRequest, charge: PricedCharge, outcome: Outcome): DebitView {
  if (outcome.type !== 'posted') throw new Error(`expected a posted movement, not ${outcome.type}`);
  const { movement, balances, replayed } = outcome;
  return {
    object: 'debit',
    id: movement.transferId,
    account: request.account,
    reference: request.reference,
    amount_micros: movement.amountMicros.toString(),
    model: request.model ?? null,
    images: request.images ?? null,
    // A replay shows the price of the first charge, which is on the ledger row.
    price: parseChargeMemo(replayed ? movement.memo : charge.memo)?.priceId ?? null,
    replayed,
    available_micros: balances.availableMicros.toString(),
    held_micros: balances.heldMicros.toString(),
    posted_micros: balances.postedMicros.toString(),
    created: Math.trunc(movement.createdAtMs / 1_000),
  };
}
