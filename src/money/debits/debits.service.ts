import { Injectable } from '@nestjs/common';
import { Problem, toErrorBody } from '../../platform/errors/problem.js';
import { InternalError } from '../../platform/errors/common.errors.js';
import { readDto } from '../../platform/http/validation.pipe.js';
import { parseChargeMemo } from '../pricing/charge-memo.js';
import type { Outcome } from '../wallets/rules/outcome.js';
import { WalletEngine } from '../wallets/wallet-engine.js';
import { DebitPricing, type PricedCharge } from './debit-pricing.service.js';
import { DebitRequest, type DebitBatchView, type DebitView, type FailedDebitView } from './debit.dto.js';

/** Debits for an external gateway. Each reference is charged once, however often it is sent. */
@Injectable()
export class DebitsService {
  constructor(
    private readonly engine: WalletEngine,
    private readonly pricing: DebitPricing,
  ) {}

  /** Resolves when the charge is durable. Throws a `Problem` when nothing was charged. */
  async debit(request: DebitRequest, actor: string): Promise<DebitView> {
    const priced = this.pricing.price(request);
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
        reference: referenceOf(item),
        status: problem.status,
        error: toErrorBody(problem).error,
      };
    }
  }
}

function referenceOf(item: unknown): string | null {
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
