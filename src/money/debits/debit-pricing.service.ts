import { Injectable } from '@nestjs/common';
import { micros, type MicroUsd } from '../../platform/common/money.js';
import { formatChargeMemo, parseChargeMemo } from '../pricing/charge-memo.js';
import { PriceBook } from '../pricing/price-book.service.js';
import { costOf, type Price } from '../pricing/price.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';

import type { ChargeRequest } from './debit.dto.js';

export type PricedCharge = {
  readonly amountMicros: MicroUsd;
  readonly memo: string | null;
  /** A digest of the request without its price, because a retry after a price change is still the same request. */
  readonly fingerprint: string;
};

/** Computes the amount of a debit, from a model and a number of images or from an amount. */
@Injectable()
export class DebitPricing {
  constructor(private readonly prices: PriceBook) {}

  /** Throws `InvalidRequestError` unless exactly one of the two was given, `ModelNotFoundError` for an unknown model. */
  price(request: ChargeRequest): PricedCharge | Promise<PricedCharge> {
    const { model, images, amount_micros: amount, description } = request;
    const fingerprint = JSON.stringify([model ?? null, images ?? null, amount ?? null, description ?? null]);
    if (amount != null) {
      if (model != null || images != null) throw chooseOne('amount_micros');
      if (parseChargeMemo(description ?? null) !== null) {
        throw new InvalidRequestError(
          'description has the form of a priced charge and would be counted as one. Nothing was charged. Send model and images instead, or another description.',
          'description',
        );
      }
      return { amountMicros: micros(BigInt(amount)), memo: description ?? null, fingerprint };
    }
    if (model == null) throw chooseOne('model');
    if (images == null) throw new InvalidRequestError('images is required together with model.', 'images');
    if (description != null) {
      throw new InvalidRequestError(
        'description is allowed only with amount_micros, because a priced charge has its own. Nothing was charged.',
        'description',
      );
    }
    const priced = (price: Price): PricedCharge => ({
      amountMicros: costOf(price, images),
      memo: formatChargeMemo({ model, images, priceId: price.id }),
      fingerprint,
    });
    // The price is almost always in memory, and a promise would cost this frequent route one iteration of the event loop.
    const known = this.prices.current(model);
    return known === null ? this.prices.priceOf(model).then(priced) : priced(known);
  }
}

function chooseOne(param: string): InvalidRequestError {
  return new InvalidRequestError('Send either model and images, or amount_micros.', param);
}
