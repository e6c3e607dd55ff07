import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CachedReading } from '../common/cached-reading.js';
import { CLOCK, type Clock, type MonotonicClock, answerWithin, hedgedRead } from '../common/clock.js';
import { Lifecycle } from '../common/lifecycle.js';
import { CLOCK_DIFFERENCE_MS_MAX, DatabaseClock, NOW_MS, type NowRow } from '../database/ledger-clock.js';
import { ENGINE_VERSION } from '../database/engine-version.js';

/** The parts that a module may report on; the names are on the wire. */
export type CheckedPart = 'engine';

/** The health of modules above this one. Each adds its checks while it starts. */
@Injectable()
export class HealthChecks {
  private readonly checks = new Map<CheckedPart, () => boolean>();

  /** `isHealthy` is called for every probe, so it must be quick and use neither the network nor the database. */
  add(part: CheckedPart, isHealthy: () => boolean): void {
    this.checks.set(part, isHealthy);
  }

  /** Returns true also for a part that no module of this process has. */
  isHealthy(part: CheckedPart): boolean {
    return this.checks.get(part)?.() ?? true;
  }
}

/** A database that needs longer than this for one small query cannot serve a request either. */
const DATABASE_TIMEOUT_MS = 2_000;
/** Any caller may ask for readiness at any rate, so the database is asked once a second only. */
const DATABASE_ASKED_EVERY_MS = 1_000;
/** It is not current once a newer version has migrated the database and refuses this one's commands (ADR 35). */
const QUESTION = `SELECT required_engine_version() <= $1 AS current, ${NOW_MS}`;

export type PartStatus = 'ok' | 'unavailable' | 'draining';
export type Readiness = {
  readonly ready: boolean;
  readonly parts: Readonly<Record<'process' | 'database' | 'engine' | 'clock', PartStatus>>;
};

type DatabaseReading = {
  readonly current: boolean;
  /** The smallest possible difference between this process's clock and the database's. */
  readonly clockDifferenceMs: number;
};

@Injectable()
export class HealthService {
  private readonly database: CachedReading<DatabaseReading | null>;

  constructor(
    private readonly dataSource: DataSource,
    private readonly databaseClock: DatabaseClock,
    private readonly lifecycle: Lifecycle,
    private readonly checks: HealthChecks,
    @Inject(CLOCK) private readonly clock: Clock & MonotonicClock,
  ) {
    this.database = new CachedReading(clock, DATABASE_ASKED_EVERY_MS, () => this.askDatabase());
  }

  /** Returns whether this process should receive requests now, by part. It never rejects. */
  async readiness(): Promise<Readiness> {
    const database = await this.database.read();
    const isClockRight = database !== null && database.clockDifferenceMs <= CLOCK_DIFFERENCE_MS_MAX;
    const parts = {
      process: this.lifecycle.draining ? 'draining' : 'ok',
      database: database?.current === true ? 'ok' : 'unavailable',
      engine: this.checks.isHealthy('engine') ? 'ok' : 'unavailable',
      clock: isClockRight ? 'ok' : 'unavailable',
    } as const;
    return { ready: Object.values(parts).every((part) => part === 'ok'), parts };
  }

  /** Returns null when the database does not answer in time. One silent connection is no reason to send requests elsewhere. */
  private askDatabase(): Promise<DatabaseReading | null> {
    return answerWithin(
      hedgedRead(() => this.compare()),
      DATABASE_TIMEOUT_MS,
    );
  }

  private async compare(): Promise<DatabaseReading> {
    const askedAtMs = this.clock.nowMs();
    const [row] = await this.dataSource.query<[NowRow & { current: boolean }]>(QUESTION, [ENGINE_VERSION]);
    const databaseMs = this.databaseClock.read(row);
    // The database read it at some moment between the question and the answer.
    const clockDifferenceMs = Math.max(0, askedAtMs - databaseMs, databaseMs - this.clock.nowMs());
    return { current: row.current, clockDifferenceMs };
  }
}
