import { Inject, Injectable, Optional } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import {
  CLOCK,
  type Clock,
  type MonotonicClock,
  hedgedRead,
  NoAnswerInTimeError,
  withTimeout,
} from '../../platform/common/clock.js';
import { isUnavailable } from '../../platform/database/constraints.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { DatabaseUnavailableError } from '../../platform/errors/common.errors.js';
import { PriceEntity } from './price.entity.js';
import { compareNewestFirst, findPriceInForce, type Price } from './price.js';
import { ModelNotFoundError } from './pricing.errors.js';

/** A copy of the price book that is older than this is read again in the background. */
const REFRESH_AFTER_MS = 2_000;
/**
 * A call waits for a new copy when the present one is older than this, because a process that was idle must not charge a price
 * that has ended. A new version takes effect at its own `effective_from`, so this delays only versions inserted for "now".
 */
const USED_FOR_MS = 5_000;
/** While the database is unavailable, a copy is used for this long. Then spending stops (fail closed). */
const USED_IN_OUTAGE_FOR_MS = 30_000;
/** All callers wait for the same read, so a read that hangs must not delay them for longer. */
const READ_FOR_MS = 3_000;
/** Lets tests set another limit. */
export const PRICES_READ_FOR_MS = Symbol('PRICES_READ_FOR_MS');

type Copy = { readonly byModel: ReadonlyMap<string, readonly Price[]>; readonly readAtMs: number };

/**
 * Knows what an image costs now. The whole price book is in memory (a few rows a model), with future versions, so a price
 * changes at its exact time without a query during a paid call.
 */
@Injectable()
export class PriceBookService {
  private copy: Copy | null = null;
  private reading: Promise<Copy> | null = null;

  constructor(
    @InjectRepository(PriceEntity) private readonly rows: Repository<PriceEntity>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(CLOCK) private readonly monotonic: MonotonicClock,
    @Optional() @Inject(PRICES_READ_FOR_MS) private readonly readForMs = READ_FOR_MS,
  ) {}

  /**
   * Returns the price in force from memory, with two map look-ups. Null when memory does not have it; then `requirePrice` reads the
   * book and says whether the model exists.
   */
  current(model: string): Price | null {
    const { copy } = this;
    if (copy === null || this.ageMs(copy) > USED_FOR_MS) return null;
    // A failed refresh leaves the old copy in place, and a later call waits for the next one.
    if (this.ageMs(copy) > REFRESH_AFTER_MS) this.read().catch(() => undefined);
    return findPriceInForce(copy.byModel.get(model) ?? [], this.clock.nowMs());
  }

  /** Throws `ModelNotFoundError` (404), or `DatabaseUnavailableError` (503) when there is no copy that may be used. */
  async requirePrice(model: string): Promise<Price> {
    const known = this.current(model);
    if (known !== null) return known;
    const copy = await this.findUsableCopy();
    const price = findPriceInForce(copy.byModel.get(model) ?? [], this.clock.nowMs());
    if (price === null) throw new ModelNotFoundError(model);
    return price;
  }

  /** Returns a copy that is newer than the refresh interval, so that requests for unknown models do not cause a query each. */
  private async findUsableCopy(): Promise<Copy> {
    const { copy } = this;
    if (copy !== null && this.ageMs(copy) <= REFRESH_AFTER_MS) return copy;
    try {
      return await this.read();
    } catch (error) {
      const isUnreachable = error instanceof DatabaseUnavailableError;
      if (isUnreachable && copy !== null && this.ageMs(copy) <= USED_IN_OUTAGE_FOR_MS) return copy;
      throw error;
    }
  }

  private ageMs({ readAtMs }: Copy): number {
    return this.monotonic.monotonicMs() - readAtMs;
  }

  /** Reads the book once at a time. Concurrent callers share the same read. */
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
      const isUnreachable = error instanceof NoAnswerInTimeError || isUnavailable(error);
      throw isUnreachable ? new DatabaseUnavailableError(error) : error;
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
