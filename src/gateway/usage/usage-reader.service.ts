import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { type Clock, DAY_MS, formatUtcDate } from '../../platform/common/clock.js';
import { micros } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { Snapshot, type TextRow } from '../../platform/database/snapshot.js';
import { RunningGenerationsService } from '../images/calls/running-generations.service.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { WalletReaderService } from '../../money/wallets/wallet-reader.service.js';
import { RUNWAY_DAYS, calculateRunway, type Runway, type Spending } from './runway.js';
import { chargesSql, DIMENSIONS, unpaidCallsSql } from './usage-parts.js';
import { CSV_ROWS_MAX, type UsageKey, type UsageQuery } from './usage-query.js';

/** The counts as decimal strings, as the database returns them. */
export type UsageCounts = {
  readonly calls: string;
  readonly failed_calls: string;
  readonly images: string;
  readonly byok_images: string;
  readonly free_images: string;
  readonly charged_micros: string;
};

export type UsageRow = UsageKey & UsageCounts;

export type Usage = {
  readonly rows: readonly UsageRow[];
  readonly hasMore: boolean;
  /** The totals of the whole range, on every page. */
  readonly totals: UsageCounts & { readonly failures: Readonly<Record<string, string>> };
};

const MARK = `SELECT coalesce((SELECT seq FROM usage_progress WHERE account_id = $1), 0)::text AS seq`;

const SUMS = `${DIMENSIONS}, sum(calls)::bigint, sum(images)::bigint, sum(charged_micros)::bigint`;

/**
 * Selects the sums that are added up already, and the rows of what is not. `$1` is the account, `$2` and `$3` are the days, `$4` is the
 * last transfer that is added up. It is a value and not a sub-query, because the planner then knows that few transfers follow it;
 * otherwise it expects a third of the ledger and reads all receipts to join them.
 */
const PARTS = `
  parts AS (
    SELECT ${DIMENSIONS}, calls, images, charged_micros FROM usage_days
     WHERE account_id = $1 AND day >= $2::date AND day < $3::date
    UNION ALL
    SELECT ${SUMS} FROM (${chargesSql(
      `t.account_id = $1 AND t.seq > $4::bigint AND t.created_at >= $2::date::timestamp AT TIME ZONE 'UTC'
       AND t.created_at < $3::date::timestamp AT TIME ZONE 'UTC'`,
    )}) charges GROUP BY ${DIMENSIONS}
    UNION ALL
    SELECT ${SUMS} FROM (${unpaidCallsSql(
      'usage_queue q',
      `q.account_id = $1 AND g.finished_at >= $2::date::timestamp AT TIME ZONE 'UTC'
       AND g.finished_at < $3::date::timestamp AT TIME ZONE 'UTC'`,
    )}) unpaid GROUP BY ${DIMENSIONS})`;

const COUNTS = `
  coalesce(sum(calls), 0)::text AS calls,
  coalesce(sum(calls) FILTER (WHERE error_code <> ''), 0)::text AS failed_calls,
  coalesce(sum(images), 0)::text AS images,
  coalesce(sum(images) FILTER (WHERE billing_mode = 'byok'), 0)::text AS byok_images,
  coalesce(sum(images) FILTER (WHERE billing_mode = 'free'), 0)::text AS free_images,
  coalesce(sum(charged_micros), 0)::text AS charged_micros`;

const ORDER = 'day DESC, source DESC, model DESC, api_key_id DESC, tag DESC';

/** `$5` to `$8` say whether rows are grouped by day, model, API key and tag; `$9` to `$11` are the filters. */
const KEYED = `${PARTS},
  wanted AS MATERIALIZED (
    SELECT * FROM parts
     WHERE ($9::text IS NULL OR model = $9) AND ($10::text IS NULL OR api_key_id = $10) AND ($11::text IS NULL OR tag = $11)),
  keyed AS (
    SELECT CASE WHEN $5 THEN day::text ELSE '' END COLLATE "C" AS day, source COLLATE "C" AS source,
           CASE WHEN $6 THEN model ELSE '' END COLLATE "C" AS model,
           CASE WHEN $7 THEN api_key_id ELSE '' END COLLATE "C" AS api_key_id,
           CASE WHEN $8 THEN tag ELSE '' END COLLATE "C" AS tag,
           billing_mode, error_code, calls, images, charged_micros
      FROM wanted)`;

/** Reads one page. The parameters from `$12` on name the row after which it begins. */
const READ = `
  WITH ${KEYED},
  page AS (
    SELECT day, source, model, api_key_id AS "apiKeyId", tag, ${COUNTS} FROM keyed
     WHERE $12::text IS NULL OR (day, source, model, api_key_id, tag) < ($12, $13, $14, $15, $16)
     GROUP BY day, source, model, api_key_id, tag
     ORDER BY ${ORDER} LIMIT $17)
  SELECT (SELECT coalesce(json_agg(p ORDER BY day DESC, source DESC, model DESC, "apiKeyId" DESC, tag DESC), '[]')
            FROM page p) AS rows,
         (SELECT row_to_json(t) FROM (SELECT ${COUNTS} FROM wanted) t) AS totals,
         (SELECT coalesce(json_object_agg(error_code, calls::text), '{}')
            FROM (SELECT error_code, sum(calls) AS calls FROM wanted WHERE error_code <> '' GROUP BY error_code) f) AS failures`;

/** Reads every row, up to one more than a file may have. */
const READ_ALL = `
  WITH ${KEYED}
  SELECT day, source, model, api_key_id, tag, ${COUNTS} FROM keyed
   GROUP BY day, source, model, api_key_id, tag ORDER BY ${ORDER} LIMIT ${CSV_ROWS_MAX + 1}`;

/** Adds up charges only, for which no other table is needed. */
const SPENT = `
  WITH charged AS (
    SELECT day, charged_micros FROM usage_days WHERE account_id = $1 AND day >= $2::date AND charged_micros > 0
    UNION ALL
    SELECT (created_at AT TIME ZONE 'UTC')::date, amount_micros FROM transfers
     WHERE account_id = $1 AND kind IN ('capture', 'debit')
       AND seq > $3::bigint
       AND created_at >= $2::date::timestamp AT TIME ZONE 'UTC')
  SELECT coalesce(sum(charged_micros), 0)::text AS charged,
         extract(epoch FROM min(day))::bigint::text AS first FROM charged`;

/** The same limits as for any other query of the service. */
const FILE_LIMITS = { statementSecondsMax: 30, idleSecondsMax: 30 };

type Found = {
  readonly rows: readonly UsageRow[];
  readonly totals: UsageCounts;
  readonly failures: Readonly<Record<string, string>>;
};

/** Returns the values of `$1` to `$11`. */
function toParameters(
  accountId: string,
  { from, to, groups, filter }: UsageQuery,
  seq: string,
): (string | boolean | null)[] {
  return [
    ...[accountId, from, to, seq],
    ...[groups.has('day'), groups.has('model'), groups.has('api_key'), groups.has('tag')],
    ...[filter.model, filter.apiKeyId, filter.tag],
  ];
}

/** Reads what an account used, exact as of now. It takes no lock that a charge could wait for. */
@Injectable()
export class UsageReaderService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: TransactionRunner,
    private readonly wallets: WalletReaderService,
    private readonly running: RunningGenerationsService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  async read(accountId: string, query: UsageQuery): Promise<Usage> {
    await this.running.recorded(accountId);
    const { after, limit } = query;
    const [found] = await this.afterMark(accountId, (tx, seq) =>
      tx.query<Found[]>(READ, [
        ...toParameters(accountId, query, seq),
        ...[after?.day ?? null, after?.source, after?.model, after?.apiKeyId, after?.tag].map(
          (part) => part ?? null,
        ),
        limit + 1,
      ]),
    );
    if (found === undefined) throw new Error('an aggregate without a row');
    const { rows, totals, failures } = found;
    return { rows: rows.slice(0, limit), hasMore: rows.length > limit, totals: { ...totals, failures } };
  }

  /**
   * Yields every row for a file in batches, because making so many rows in one piece would block the whole process. The cells of a
   * row are in the order of `USAGE_CSV_COLUMNS`. Throws `InvalidRequestError` when there are too many rows.
   */
  async *readAll(accountId: string, query: UsageQuery): AsyncGenerator<readonly TextRow[]> {
    await this.running.recorded(accountId);
    const snapshot = await Snapshot.ofPool(this.dataSource, FILE_LIMITS);
    try {
      const [mark] = await snapshot.rows(MARK, [accountId]);
      const values = toParameters(accountId, query, mark?.[0] ?? '0').map(
        (value) => value?.toString() ?? null,
      );
      let count = 0;
      for await (const rows of snapshot.stream(READ_ALL, values)) {
        count += rows.length;
        if (count > CSV_ROWS_MAX) {
          throw new InvalidRequestError(
            `A CSV has at most ${CSV_ROWS_MAX} rows. Ask for fewer days or groups.`,
            'from',
          );
        }
        yield rows;
      }
    } finally {
      await snapshot.close();
    }
  }

  async runway(accountId: string): Promise<Runway> {
    const { available } = await this.wallets.read(accountId);
    const spending = await this.spending(accountId);
    return calculateRunway(micros(BigInt(available)), spending, this.clock.nowMs());
  }

  /** Reads the progress and everything else in one snapshot, so that a concurrent roll-up is seen completely or not at all. */
  private afterMark<T>(accountId: string, work: (tx: Tx, seq: string) => Promise<T>): Promise<T> {
    return this.transactions.run(
      async (tx) => {
        await tx.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
        const [mark] = await tx.query<{ seq: string }[]>(MARK, [accountId]);
        if (mark === undefined) throw new Error('a query of values without a row');
        return work(tx, mark.seq);
      },
      { kind: 'account_key', accountId },
    );
  }

  private async spending(accountId: string): Promise<Spending> {
    const since = formatUtcDate(new Date(this.clock.nowMs() - (RUNWAY_DAYS - 1) * DAY_MS));
    const [row] = await this.afterMark(accountId, (tx, seq) =>
      tx.query<{ charged: string; first: string | null }[]>(SPENT, [accountId, since, seq]),
    );
    const first = row?.first ?? null;
    return {
      chargedMicros: micros(BigInt(row?.charged ?? '0')),
      firstDayMs: first === null ? null : Number(first) * 1_000,
    };
  }
}
