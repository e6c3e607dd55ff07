import type { DataSource } from 'typeorm';

/** A movement: all rows of one reference. */
export type Movement = {
  readonly account: string;
  readonly kind: string;
  readonly reference: string;
  /** Of its first row, which answers name. */
  readonly id: string;
  readonly micros: string;
};
export type BookedHold = {
  readonly id: string;
  readonly account: string;
  readonly reference: string;
  readonly status: string;
  readonly captured: string;
  readonly keyId: string | null;
};
/** A receipt of an image call, and what its hold captured. */
export type BookedImage = {
  readonly id: string;
  readonly tag: string;
  readonly status: string;
  readonly charged: string;
  readonly captured: string;
};
export type BookedWallet = {
  readonly account: string;
  readonly posted: string;
  readonly held: string;
  readonly debt: string;
  readonly status: string;
  readonly lowest: string;
  readonly credited: string;
  readonly charged: string;
};

export type ChaosBooks = {
  readonly movements: readonly Movement[];
  readonly holds: readonly BookedHold[];
  readonly images: readonly BookedImage[];
  readonly wallets: readonly BookedWallet[];
};

const MOVEMENTS = `
  SELECT account_id AS account, reference, min(kind) AS kind, min(id) AS id,
         sum(CASE WHEN debit_account IN ('customer_credit', 'customer_promo') THEN -amount_micros
                  WHEN credit_account IN ('customer_credit', 'customer_promo') THEN amount_micros ELSE 0 END)::text AS micros
    FROM (SELECT * FROM transfers ORDER BY account_id, seq) t
   WHERE account_id = ANY($1) GROUP BY account_id, reference`;

const HOLDS = `
  SELECT id, account_id AS account, reference, status, captured_micros::text AS captured, key_id AS "keyId"
    FROM holds WHERE account_id = ANY($1)`;

const IMAGES = `
  SELECT g.id, g.tag, g.status, g.retry_state, g.created_at::text, g.finished_at::text, h.resolved_at::text, g.charged_micros::text AS charged, coalesce(h.captured_micros, 0)::text AS captured
    FROM generations g LEFT JOIN holds h ON h.account_id = g.account_id AND h.id = g.hold_id
   WHERE g.account_id = ANY($1)`;

const WALLETS = `
  SELECT w.account_id AS account, w.posted_micros::text AS posted, w.held_micros::text AS held, w.debt_micros::text AS debt,
         w.status, min(t.posted_after_micros)::text AS lowest,
         coalesce(sum(t.amount_micros) FILTER (WHERE credit_account IN ('customer_credit', 'customer_promo')), 0)::text AS credited,
         coalesce(sum(t.amount_micros) FILTER (WHERE kind IN ('debit', 'capture')), 0)::text AS charged
    FROM wallets w JOIN transfers t USING (account_id)
   WHERE w.account_id = ANY($1) GROUP BY w.account_id, w.posted_micros, w.held_micros, w.debt_micros, w.status`;

export async function readChaosBooks(
  dataSource: DataSource,
  accounts: readonly string[],
): Promise<ChaosBooks> {
  const rows = <Row>(sql: string): Promise<Row[]> => dataSource.query<Row[]>(sql, [accounts]);
  return {
    movements: await rows(MOVEMENTS),
    holds: await rows(HOLDS),
    images: await rows(IMAGES),
    wallets: await rows(WALLETS),
  };
}

/** What some process has yet to bring to its end: image calls and their holds, events of Stripe, and paid top-ups. */
export async function openWork(
  dataSource: DataSource,
  accounts: readonly string[],
): Promise<Record<string, number>> {
  const [counts] = await dataSource.query<Record<string, number>[]>(
    `SELECT (SELECT count(*)::int FROM generations WHERE account_id = ANY($1) AND finished_at IS NULL) AS images,
            (SELECT count(*)::int FROM holds WHERE account_id = ANY($1) AND status = 'authorized'
                AND starts_with(reference, 'generation:')) AS holds,
            (SELECT count(*)::int FROM stripe_events WHERE processed_at IS NULL) AS events,
            (SELECT count(*)::int FROM top_ups WHERE account_id = ANY($1) AND status <> 'paid') AS top_ups`,
    [accounts],
  );
  return Object.fromEntries(Object.entries(counts ?? {}).filter(([, count]) => count > 0));
}
