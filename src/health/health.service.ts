import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CachedReading } from '../common/cached-reading.js';
import { CLOCK, type MonotonicClock } from '../common/clock.js';
import { Lifecycle } from '../common/lifecycle.js';

/** A database that needs longer than this for `SELECT 1` cannot carry a request either. */
const DATABASE_TIMEOUT_MS = 2_000;
/** Anybody may ask for readiness, as often as they like; the database is asked once a second. */
const DATABASE_ASKED_EVERY_MS = 1_000;

export type PartStatus = 'ok' | 'unavailable' | 'draining';
export type Readiness = {
  readonly ready: boolean;
  readonly parts: { readonly process: PartStatus; readonly database: PartStatus };
};

@Injectable()
export class HealthService {
  private readonly database: CachedReading<boolean>;

  constructor(
    private readonly dataSource: DataSource,
    private readonly lifecycle: Lifecycle,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
    this.database = new CachedReading(clock, DATABASE_ASKED_EVERY_MS, () => this.databaseAnswers());
  }

  /** Whether this process should be sent requests now, part by part. Never rejects. */
  async readiness(): Promise<Readiness> {
    const process = this.lifecycle.draining ? 'draining' : 'ok';
    const database = (await this.database.read()) ? 'ok' : 'unavailable';
    return { ready: process === 'ok' && database === 'ok', parts: { process, database } };
  }

  private async databaseAnswers(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, DATABASE_TIMEOUT_MS, false);
    });
    const answer = this.dataSource.query('SELECT 1').then(
      () => true,
      () => false,
    );
    return Promise.race([answer, late]).finally(() => clearTimeout(timer));
  }
}
