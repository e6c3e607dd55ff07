import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CachedReading } from '../common/cached-reading.js';
import { CLOCK, type MonotonicClock } from '../common/clock.js';
import { Lifecycle } from '../common/lifecycle.js';
import { ENGINE_VERSION } from '../database/engine-version.js';

/** A database that needs longer than this for one small question cannot carry a request either. */
const DATABASE_TIMEOUT_MS = 2_000;
/** Anybody may ask for readiness, as often as they like; the database is asked once a second. */
const DATABASE_ASKED_EVERY_MS = 1_000;
/** False once a newer version has migrated the database and refuses this one's money (ADR 35). */
const IS_CURRENT = 'SELECT required_engine_version() <= $1 AS current';

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
    const answer = this.dataSource.query<{ current: boolean }[]>(IS_CURRENT, [ENGINE_VERSION]).then(
      ([row]) => row?.current === true,
      () => false,
    );
    return Promise.race([answer, late]).finally(() => clearTimeout(timer));
  }
}
