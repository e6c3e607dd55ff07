import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';

export const RANKING_WINDOWS = { day: 24, week: 7 * 24, month: 30 * 24 } as const;
export type RankingWindow = keyof typeof RANKING_WINDOWS;

export type RankedModel = { readonly model: string; readonly images: bigint };
export type Ranking = {
  /** When the ranking was calculated. */
  readonly asOfMs: number;
  /** The most used model comes first. Models without a delivered image are absent. */
  readonly windows: Readonly<Record<RankingWindow, readonly RankedModel[]>>;
};

const HOUR_MS = 3_600_000;
/** A copy is kept this long, because the counts change only once a minute. */
const REFRESH_AFTER_MS = 60_000;

/** This reads at most 720 rows for each model. */
const ADD_UP = `
  SELECT model,
         coalesce(sum(images) FILTER (WHERE hour > $1), 0) AS day,
         coalesce(sum(images) FILTER (WHERE hour > $2), 0) AS week,
         coalesce(sum(images), 0) AS month
    FROM model_usage WHERE hour > $3 GROUP BY model`;

type Row = Readonly<Record<RankingWindow | 'model', string>>;

/** Ranks models by their delivered images. It only uses counts in which no customer can be recognised. */
@Injectable()
export class ModelRankingService {
  private copy: Ranking | null = null;
  private reading: Promise<Ranking> | null = null;

  constructor(
    private readonly dataSource: DataSource,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Returns a ranking that is up to a minute old, or the last copy when the database is unavailable. */
  async current(): Promise<Ranking> {
    if (this.copy !== null && this.clock.nowMs() - this.copy.asOfMs <= REFRESH_AFTER_MS) return this.copy;
    this.reading ??= this.addUp().finally(() => {
      this.reading = null;
    });
    try {
      return await this.reading;
    } catch (error) {
      if (this.copy === null) throw error;
      return this.copy;
    }
  }

  private async addUp(): Promise<Ranking> {
    const asOfMs = this.clock.nowMs();
    const since = (hours: number): string => new Date(asOfMs - hours * HOUR_MS).toISOString();
    const { day, week, month } = RANKING_WINDOWS;
    const rows = await this.dataSource.query<Row[]>(ADD_UP, [since(day), since(week), since(month)]);
    const rank = (window: RankingWindow): RankedModel[] =>
      rows
        .map((row) => ({ model: row.model, images: BigInt(row[window]) }))
        .filter(({ images }) => images > 0n)
        .sort((a, b) =>
          a.images === b.images ? (a.model < b.model ? -1 : 1) : a.images < b.images ? 1 : -1,
        );
    this.copy = { asOfMs, windows: { day: rank('day'), week: rank('week'), month: rank('month') } };
    return this.copy;
  }
}
