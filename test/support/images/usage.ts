import { expect } from '@jest/globals';
import type { TestApp, TestCustomer } from '../app/test-app.js';

export type UsageAnswerRow = {
  readonly id: string;
  readonly day: string | null;
  readonly source: string;
  readonly model: string | null;
  readonly api_key: string | null;
  readonly tag: string | null;
  readonly calls: number;
  readonly failed_calls: number;
  readonly images: number;
  readonly byok_images: number;
  readonly free_images: number;
  readonly charged_micros: string;
};

/* eslint-disable @typescript-eslint/no-explicit-any -- answers are inspected as plain JSON */
export async function usageOf({ client }: Pick<TestCustomer, 'client'>, query: object = {}): Promise<any> {
  const parameters = new URLSearchParams(query as Record<string, string>);
  return (await client.get(`/v1/usage?${parameters.toString()}`)).expect(200).body;
}

/** What each account was charged, day by day, from its ledger alone. */
async function chargedByDay({ dataSource }: TestApp, accountId: string): Promise<Record<string, string>> {
  const rows = await dataSource.query<{ day: string; charged: string }[]>(
    `SELECT (created_at AT TIME ZONE 'UTC')::date::text AS day, sum(amount_micros)::text AS charged
       FROM transfers WHERE account_id = $1 AND kind IN ('capture', 'debit') GROUP BY 1`,
    [accountId],
  );
  return Object.fromEntries(rows.map(({ day, charged }) => [day, charged]));
}

/** The usage of every day adds up to the captures and debits of that day, and nothing else spends. */
export async function expectUsageToEqualLedger(
  service: TestApp,
  customer: TestCustomer,
  query: object = {},
): Promise<void> {
  const usage = await usageOf(customer, { group_by: 'day,model,api_key,tag', limit: '1000', ...query });
  const byDay = new Map<string, bigint>();
  for (const row of usage.data as UsageAnswerRow[]) {
    const charged = BigInt(row.charged_micros);
    if (charged > 0n) byDay.set(row.day ?? '', (byDay.get(row.day ?? '') ?? 0n) + charged);
  }
  const expected = await chargedByDay(service, customer.accountId);
  expect(Object.fromEntries([...byDay].map(([day, charged]) => [day, String(charged)]))).toEqual(expected);
  const total = Object.values(expected).reduce((sum, charged) => sum + BigInt(charged), 0n);
  expect(usage.totals.charged_micros).toBe(String(total));
}
