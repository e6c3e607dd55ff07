import { Inject, Injectable, Optional } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { CLOCK, type Clock, type MonotonicClock } from '../../platform/common/clock.js';
import { hedgedRead } from '../../platform/common/hedged-read.js';
import { NoAnswerInTimeError, withTimeout } from '../../platform/common/time-limits.js';
import { isUnavailable } from '../../platform/database/constraints.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { DatabaseUnavailableError } from '../../platform/errors/common.errors.js';
import { PriceEntity } from './price.entity.js';
import { compareNewestFirst, priceInForce, type Price } from './price.js';
import { ModelNotFoundError } from './pricing.errors.js';

/** A copy of the book older than this is read again, beside the call that noticed. */
const REFRESH_AFTER_MS = 2_000;
/**
 * With a copy older than this a call waits for the new one: a process that was idle must not charge a price that is no
 * more. A new version takes effect at its own `effective_from`, so this delays only those inserted for "now".
 */
const USED_FOR_MS = 5_000;
/** When the database is away, a copy is believed for this long, then spending stops (fail closed). */
const BELIEVED_FOR_MS = 30_000;
/** Everybody waits for the same reading: one that hangs must not hold them all. */
const READ_FOR_MS = 3_000;
/** Another limit than that, for tests. */
export const PRICES_READ_FOR_MS = Symbol('PRICES_READ_FOR_MS');

type Copy = { readonly byModel: ReadonlyMap<string, readonly Price[]>; readonly readAtMs: number };

/**
 * What an image costs now. The whole book is kept in memory (a few rows a model), future versions
 * included, so a price changes on the millisecond without a look-up on the paid path.
 */
@Injectable()
export class PriceBook {
  private copy: Copy | null = null;
  private reading: Promise<Copy> | null = null;

  constructor(
    @InjectRepository(PriceEntity) private readonly rows: Repository<PriceEntity>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(CLOCK) private readonly monotonic: MonotonicClock,
    @Optional() @Inject(PRICES_READ_FOR_MS) private readonly readForMs = READ_FOR_MS,
  ) {}

  /**
   * The price in force, at once. Null when memory does not know: then ask `priceOf`, which reads the book
   * and says whether the model exists. Costs two map look-ups.
   */
  current(model: string): Price | null {
    const { copy } = this;
    if (copy === null || this.ageOf(copy) > USED_FOR_MS) return null;
    // A failed refresh leaves the old copy in place; who comes later waits for the next one.
    if (this.ageOf(copy) > REFRESH_AFTER_MS) this.read().catch(() => undefined);
    return priceInForce(copy.byModel.get(model) ?? [], this.clock.nowMs());
  }

  /** Throws `ModelNotFoundError` (404), or `DatabaseUnavailableError` (503) when no believable copy is at hand. */
  async priceOf(model: string): Promise<Price> {
    const known = this.current(model);
    if (known !== null) return known;
    const copy = await this.believable();
    const price = priceInForce(copy.byModel.get(model) ?? [], this.clock.nowMs());
    if (price === null) throw new ModelNotFoundError(model);
    return price;
  }

  /** A copy that is not older than a refresh: unknown models must not turn every request into a query. */
  private async believable(): Promise<Copy> {
    const { copy } = this;
    if (copy !== null && this.ageOf(copy) <= REFRESH_AFTER_MS) return copy;
    try {
      return await this.read();
    } catch (error) {
      const isAway = error instanceof DatabaseUnavailableError;
      if (isAway && copy !== null && this.ageOf(copy) <= BELIEVED_FOR_MS) return copy;
      throw error;
    }
  }

  private ageOf({ readAtMs }: Copy): number {
    return this.monotonic.monotonicMs() - readAtMs;
  }

  /** One reading at a time; everybody who asks meanwhile shares it. */
  private read(): Promise<Copy> {
    this.reading ??= this.renew().finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  private async renew(): Promise<Copy> {
    try {
      this.copy = await withTimeout(
        hedgedRead(() => this.load()),
        this.readForMs,
      );
      return this.copy;
    } catch (error) {
      const isAway = error instanceof NoAnswerInTimeError || isUnavailable(error);
      throw isAway ? new DatabaseUnavailableError(error) : error;
    }
  }

  private async load(): Promise<Copy> {
    const readAtMs = this.monotonic.monotonicMs();
    const byModel = new Map<string, Price[]>();
    for (const row of await this.rows.find()) {
      const price = toPrice(row);
      byModel.set(price.model, [...(byModel.get(price.model) ?? []), price]);
    }
    for (const prices of byModel.values()) prices.sort(compareNewestFirst);
    return { byModel, readAtMs };
  }
}

function toPrice(row: PriceEntity): Price {
  return {
    id: row.id,
    model: row.model,
    version: row.version,
    unit: row.unit,
    amountMicros: row.amountMicros,
    effectiveFromMs: row.effectiveFrom.getTime(),
  };
}
