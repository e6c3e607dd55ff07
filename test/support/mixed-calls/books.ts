import type { DataSource } from 'typeorm';

/** What the database says of one account at the end. Amounts in micro-USD, times in Unix milliseconds. */
export type AccountBooks = {
  readonly generations: readonly GenerationRow[];
  readonly tasks: readonly TaskRow[];
  readonly holds: readonly HoldRow[];
  readonly transfers: readonly TransferRow[];
  readonly posted: bigint;
  readonly held: bigint;
};

export type GenerationRow = {
  readonly id: string;
  /** OpenAI's `user`: the name of the call. */
  readonly name: string;
  readonly keyId: string;
  readonly model: string;
  readonly status: string;
  readonly requested: number;
  readonly delivered: number;
  readonly format: string;
  readonly priceId: string;
  readonly price: bigint;
  readonly charged: bigint;
  readonly holdId: string | null;
  readonly providerKeyId: string | null;
  readonly fellBackFrom: string | null;
  readonly errorCode: string | null;
  readonly idempotencyKey: string | null;
  readonly createdAtMs: number;
};

/** Over the customer's own provider key. */
export const isByokCall = (row: GenerationRow): boolean => row.providerKeyId !== null;

export type TaskRow = {
  readonly generationId: string;
  readonly position: number;
  readonly taskId: string | null;
  readonly status: string;
  readonly bytes: number | null;
  /** Booked as a cost of ours. */
  readonly cost: bigint | null;
  readonly createdAtMs: number;
};

export type HoldRow = {
  readonly id: string;
  readonly reference: string;
  readonly keyId: string | null;
  readonly status: string;
  readonly amount: bigint;
  readonly captured: bigint;
  readonly createdAtMs: number;
  readonly resolvedAtMs: number | null;
};

/** In the order of `seq`. */
export type TransferRow = {
  readonly kind: string;
  readonly reference: string;
  readonly amount: bigint;
  readonly postedAfter: bigint;
  readonly createdAtMs: number;
};

export type PriceRow = {
  readonly id: string;
  readonly model: string;
  readonly amount: bigint;
  readonly effectiveFromMs: number;
};

const ms = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::bigint`;

const GENERATIONS = `
  SELECT id, coalesce(end_user, '') AS name, api_key_id AS "keyId", model, status, images_requested AS requested,
         images_delivered AS delivered, output_format AS format, price_id AS "priceId", price_micros AS price,
         charged_micros AS charged, hold_id AS "holdId", provider_key_id AS "providerKeyId",
         fell_back_from AS "fellBackFrom", error_code AS "errorCode", idempotency_key AS "idempotencyKey",
         ${ms('created_at')} AS "createdAtMs"
    FROM generations WHERE account_id = $1`;
const TASKS = `
  SELECT generation_id AS "generationId", position, task_id AS "taskId", status, bytes,
         upstream_cost_micros AS cost, ${ms('created_at')} AS "createdAtMs"
    FROM generation_tasks WHERE account_id = $1`;
const HOLDS = `
  SELECT id, reference, key_id AS "keyId", status, amount_micros AS amount, captured_micros AS captured,
         ${ms('created_at')} AS "createdAtMs", ${ms('resolved_at')} AS "resolvedAtMs"
    FROM holds WHERE account_id = $1`;
const TRANSFERS = `
  SELECT kind, reference, amount_micros AS amount, posted_after_micros AS "postedAfter",
         ${ms('created_at')} AS "createdAtMs"
    FROM transfers WHERE account_id = $1 ORDER BY seq`;
const WALLET = `SELECT posted_micros AS posted, held_micros AS held FROM wallets WHERE account_id = $1`;
const PRICES = `
  SELECT id, model, amount_micros AS amount, ${ms('effective_from')} AS "effectiveFromMs" FROM prices`;

const AMOUNTS = ['price', 'charged', 'amount', 'captured', 'postedAfter', 'cost', 'posted', 'held'];

export async function readAccountBooks(dataSource: DataSource, account: string): Promise<AccountBooks> {
  const read = async <Row>(sql: string): Promise<Row[]> =>
    (await dataSource.query<Record<string, unknown>[]>(sql, [account])).map(typed<Row>);
  const [wallet] = await read<{ posted: bigint; held: bigint }>(WALLET);
  return {
    generations: await read(GENERATIONS),
    tasks: await read(TASKS),
    holds: await read(HOLDS),
    transfers: await read(TRANSFERS),
    posted: wallet?.posted ?? 0n,
    held: wallet?.held ?? 0n,
  };
}

export async function readPrices(dataSource: DataSource): Promise<PriceRow[]> {
  return (await dataSource.query<Record<string, unknown>[]>(PRICES)).map(typed<PriceRow>);
}

/** Work of these accounts that somebody still has to end. */
export async function countOpenWork(dataSource: DataSource, accounts: readonly string[]): Promise<number> {
  const [row] = await dataSource.query<{ open: number }[]>(
    `SELECT ((SELECT count(*) FROM holds WHERE account_id = ANY($1) AND status = 'authorized')
           + (SELECT count(*) FROM generations WHERE account_id = ANY($1) AND status IN ('running', 'unresolved')))::int
            AS open`,
    [accounts],
  );
  return row?.open ?? 0;
}

/** The driver answers 64-bit columns as text. */
function typed<Row>(row: Record<string, unknown>): Row {
  const entries = Object.entries(row).map(([name, value]) => {
    if (typeof value !== 'string') return [name, value];
    if (AMOUNTS.includes(name)) return [name, BigInt(value)];
    return [name, name.endsWith('Ms') ? Number(value) : value];
  });
  return Object.fromEntries(entries) as Row;
}
