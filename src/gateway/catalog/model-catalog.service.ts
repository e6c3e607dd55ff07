import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CLOCK, type Clock, type MonotonicClock } from '../../platform/common/clock.js';
import { hedgedRead } from '../../platform/common/hedged-read.js';
import { isSettledWithin } from '../../platform/common/time-limits.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import type { Catalog } from './catalog.js';
import { readCatalogFile } from './versions/catalog-file.js';
import { CatalogRefusedError, publishCatalog, readNewestCatalog } from './versions/catalog-versions.js';

/** A copy older than this is read again, beside the call that noticed: as with prices, so that both change together. */
const REFRESH_AFTER_MS = 2_000;
/** With a copy older than this a call waits for the new one: a process that was idle must not ask a provider whose route is no more. */
const USED_FOR_MS = 5_000;
/** A reading that takes longer is not waited for: no model is found faster because every call stands still. */
const WAITED_FOR_MS = 1_000;

type Copy = { readonly catalog: Catalog; readonly readAtMs: number };

/**
 * The models in force. A copy is kept in memory; a version that is published meanwhile is in force everywhere five seconds
 * later, also for the first call after a quiet time. While the database is away the last copy stays: it holds no money, and
 * paid calls stop at the price book, which does not believe an old copy.
 */
@Injectable()
export class ModelCatalog implements OnModuleInit {
  private readonly logger = new Logger(ModelCatalog.name);
  private copy: Copy | null = null;
  private askedAtMs = Number.NEGATIVE_INFINITY;
  private reading: Promise<void> | null = null;

  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(CLOCK) private readonly monotonic: MonotonicClock,
  ) {}

  /** A new database gets the models of this release; afterwards only `coffer catalog apply` changes them. */
  async onModuleInit(): Promise<void> {
    await this.read();
    if (this.copy !== null) return;
    await this.publishFirst();
    await this.read();
  }

  /** From memory, unless nobody has asked for a while. */
  async current(): Promise<Catalog> {
    const ageMs = this.since(this.copy?.readAtMs);
    if (ageMs > REFRESH_AFTER_MS) {
      const reading = this.readAgain();
      if (ageMs > USED_FOR_MS) await isSettledWithin(reading, WAITED_FOR_MS - this.since(this.askedAtMs));
    }
    if (this.copy === null) throw new Error('the catalogue is read before anything is served');
    return this.copy.catalog;
  }

  /** The reading under way. A database that is away is not asked by every call. */
  private readAgain(): Promise<void> {
    if (this.reading !== null) return this.reading;
    if (this.since(this.askedAtMs) <= REFRESH_AFTER_MS) return Promise.resolve();
    const reading = this.read();
    reading.catch((error: unknown) => {
      this.logger.warn({ err: error }, 'The catalogue was not read again; the last copy stays in force');
    });
    return reading;
  }

  private since(momentMs = Number.NEGATIVE_INFINITY): number {
    return this.monotonic.monotonicMs() - momentMs;
  }

  /** One reading at a time; everybody who asks meanwhile shares it. */
  private read(): Promise<void> {
    this.reading ??= this.load().finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  private async load(): Promise<void> {
    const readAtMs = this.monotonic.monotonicMs();
    this.askedAtMs = readAtMs;
    const catalog = await hedgedRead(() => readNewestCatalog(this.dataSource.manager));
    if (catalog !== null) this.copy = { catalog, readAtMs };
  }

  private async publishFirst(): Promise<void> {
    const file = await readCatalogFile();
    const nowMs = this.clock.nowMs();
    try {
      await this.transactions.run((tx) =>
        publishCatalog(tx, { ...file, after: null, publishedBy: 'system', nowMs }),
      );
    } catch (error) {
      // Another process that starts beside us was faster.
      if (!(error instanceof CatalogRefusedError)) throw error;
    }
  }
}
