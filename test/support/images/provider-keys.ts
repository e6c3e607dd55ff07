import { randomBytes } from 'node:crypto';
import { expect } from '@jest/globals';
import type { TestApp, TestCustomer } from '../app/test-app.js';

export const PROVIDER = 'black_forest_labs';

/** A customer's key that the simulator accepts, with an account of its own there. */
export function makeProviderKey({ blackForestLabs }: TestApp): string {
  const key = `bfl_own_${randomBytes(16).toString('hex')}`;
  blackForestLabs?.control.acceptApiKey(key);
  return key;
}

export async function attach(
  { client }: Pick<TestCustomer, 'client'>,
  key: string,
  further: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const answer = await client.send('PUT', `/v1/provider_keys/${PROVIDER}`, { body: { key, ...further } });
  return String(answer.expect(200).body.id);
}

export type WalletRows = Readonly<Record<string, string>>;

/** Every row that money of this account could have left: BYOK must add none. */
export async function walletRowsOf({ dataSource }: TestApp, accountId: string): Promise<WalletRows> {
  const [row] = await dataSource.query<WalletRows[]>(
    `SELECT (SELECT count(*) FROM transfers WHERE account_id = $1) AS transfers,
            (SELECT count(*) FROM holds WHERE account_id = $1) AS holds,
            (SELECT count(*) FROM credit_lots WHERE account_id = $1) AS lots,
            (SELECT coalesce(sum(posted_micros), 0) FROM wallets WHERE account_id = $1) AS posted,
            (SELECT coalesce(sum(held_micros), 0) FROM wallets WHERE account_id = $1) AS held`,
    [accountId],
  );
  return row ?? {};
}

/** Reads every column of every table, text and bytes, and answers where `secret` is in plain words. */
export async function placesOf(app: TestApp, secret: string): Promise<string[]> {
  const columns = await app.dataSource.query<{ table: string; column: string; type: string }[]>(
    `SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS "table", quote_ident(column_name) AS "column",
            udt_name AS type
       FROM information_schema.columns
      WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
        AND has_table_privilege(quote_ident(table_schema) || '.' || quote_ident(table_name), 'SELECT')`,
  );
  expect(columns.length).toBeGreaterThan(100);
  const places: string[] = [];
  for (const { table, column, type } of columns) {
    const text = type === 'bytea' ? `encode(${column}, 'escape')` : `${column}::text`;
    const found = await app.dataSource.query<unknown[]>(
      `SELECT 1 FROM ${table} WHERE strpos(${text}, $1) > 0 LIMIT 1`,
      [secret],
    );
    if (found.length > 0) places.push(`${table}.${column}`);
  }
  return places;
}
