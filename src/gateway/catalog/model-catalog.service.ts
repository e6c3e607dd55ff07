import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { DataSource } from 'typeorm';
import {
  CLOCK,
  type Clock,
  type MonotonicClock,
  hedgedRead,
  isSettledWithin,
} from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import type { Catalog } from './catalog.js';
import { readCatalogFile } from './versions/catalog-file.js';
import { CatalogRefusedError, publishCatalog, readNewestCatalog } from './versions/catalog-versions.js';

/** A copy older than this is read again in the background. Prices have the same limit, so that both change together. */
const REFRESH_AFTER_MS = 2_000;
/** With a copy older than this a call waits for a new one, so that a process that was idle does not use a route that was removed. */
const USED_FOR_MS = 5_000;
/** A call waits for a read no longer than this and then uses the last copy, because waiting would not help it. */
const WAITED_FOR_MS = 1_000;

type Copy = { readonly catalog: Catalog; readonly readAtMs: number };

/**
 * Provides the current models from a copy in memory. A new version is in force everywhere five seconds after it was published, also for
 * the first call after an idle time. While the database is unavailable the last copy stays in use: no money depends on it, and paid
 * calls are stopped by the price book, which does not use an old copy.
 */
@Injectable()
export class ModelCatalogService implements OnModuleInit {
  private readonly logger = new Logger(ModelCatalogService.name);
  private copy: Copy | null = null;
  private askedAtMs = Number.NEGATIVE_INFINITY;
  private reading: Promise<void> | null = null;

  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(CLOCK) private readonly monotonic: MonotonicClock,
  ) {}

  /** Publishes the models of this release in a new database. Afterwards only `coffer catalog apply` changes them. */
  async onModuleInit(): Promise<void> {
    await this.read();
    if (this.copy !== null) return;
    await this.publishFirst();
    await this.read();
  }

  /** Answers from memory, unless the copy is too old because no call has needed it for a while. */
  async current(): Promise<Catalog> {
    const ageMs = this.since(this.copy?.readAtMs);
    if (ageMs > REFRESH_AFTER_MS) {
      const reading = this.readAgain();
      if (ageMs > USED_FOR_MS) await isSettledWithin(reading, WAITED_FOR_MS - this.since(this.askedAtMs));
    }
    if (this.copy === null) throw new Error('the catalogue is read before anything is served');
    return this.copy.catalog;
  }

  /** Starts a read unless one is running, so that not every call queries a database that is unavailable. */
  private readAgain(): Promise<void> {
    if (this.reading !== null) return this.reading;
    if (this.since(this.askedAtMs) <= REFRESH_AFTER_MS) return Promise.resolve();
    const reading = this.read();
    reading.catch((error: unknown) => {
      const event = 'catalog.refresh_failed';
      this.logger.warn(
        { event, err: error },
        'The catalogue could not be refreshed; the last copy stays in use',
      );
    });
    return reading;
  }

  private since(momentMs = Number.NEGATIVE_INFINITY): number {
    return this.monotonic.monotonicMs() - momentMs;
  }

  /** Only one read runs at a time, and concurrent callers share it. */
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
      // Another process that starts at the same time was faster.
      if (!(error instanceof CatalogRefusedError)) throw error;
    }
  }
}
