import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../common/clock.js';
import { hedgedRead } from '../common/hedged-read.js';
import { LEDGER_CLOCK } from '../database/ledger-clock.js';
import { TransactionRunner } from '../database/transaction-runner.js';
import type { Catalog } from './catalog.js';
import { readCatalogFile } from './versions/catalog-file.js';
import { CatalogRefusedError, publishCatalog, readNewestCatalog } from './versions/catalog-versions.js';

/** A copy older than this is read again, beside the call that noticed: as with prices, so that both change together. */
const REFRESH_AFTER_MS = 2_000;

/**
 * The models in force. A copy is kept in memory; a version that is published meanwhile is noticed within
 * seconds. While the database is away the last copy stays: it holds no money, and paid calls stop at the
 * price book, which does not believe an old copy.
 */
@Injectable()
export class ModelCatalog implements OnModuleInit {
  private readonly logger = new Logger(ModelCatalog.name);
  private copy: Catalog | null = null;
  private readAtMs = Number.NEGATIVE_INFINITY;
  private reading: Promise<void> | null = null;

  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** A new database gets the models of this release; afterwards only `coffer catalog apply` changes them. */
  async onModuleInit(): Promise<void> {
    await this.read();
    if (this.copy !== null) return;
    await this.publishFirst();
    await this.read();
  }

  /** At once, from memory. */
  current(): Catalog {
    if (this.clock.nowMs() - this.readAtMs > REFRESH_AFTER_MS) {
      this.read().catch((error: unknown) => {
        this.logger.warn({ err: error }, 'The catalogue was not read again; the last copy stays in force');
      });
    }
    if (this.copy === null) throw new Error('the catalogue is read before anything is served');
    return this.copy;
  }

  /** One reading at a time; everybody who asks meanwhile shares it. */
  private read(): Promise<void> {
    this.reading ??= this.load().finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  private async load(): Promise<void> {
    // Whether it succeeds or not: a database that is away must not be asked by every request.
    this.readAtMs = this.clock.nowMs();
    this.copy = (await hedgedRead(() => readNewestCatalog(this.dataSource.manager))) ?? this.copy;
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
