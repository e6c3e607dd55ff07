import { expect } from '@jest/globals';
import { GENERATION_LIMITS, type GenerationLimits } from '../../src/generation/generation-limits.js';
import { RunningGenerations } from '../../src/generation/running-generations.service.js';
import type { TestApp, TestCustomer } from './test-app.js';
import type { TestAnswer } from './test-client.js';

export const MODEL = 'black-forest-labs/flux-2-klein-9b';
export const PRICE_MICROS = 40_000n;
/** Small pictures: the tests are about money. */
export const SMALL = '64x64';

type Body = Readonly<Record<string, unknown>>;

export function generate(
  { client }: Pick<TestCustomer, 'client'>,
  body: Body = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<TestAnswer> {
  return client.post(
    '/v1/images/generations',
    { model: MODEL, prompt: 'a fox', size: SMALL, ...body },
    headers,
  );
}

/** Takes effect for calls that begin afterwards. */
export function setLimits(service: TestApp, limits: Partial<GenerationLimits>): void {
  Object.assign(service.app.get<GenerationLimits>(GENERATION_LIMITS), limits);
}

export type Balances = { readonly available: bigint; readonly held: bigint; readonly posted: bigint };

export async function balancesOf({ client }: Pick<TestCustomer, 'client'>): Promise<Balances> {
  const { body } = (await client.get('/v1/wallet')).expect(200);
  return {
    available: BigInt(body.available_micros),
    held: BigInt(body.held_micros),
    posted: BigInt(body.posted_micros),
  };
}

/** What the ledger says that this account was charged for images. */
export async function capturedMicros({ dataSource }: TestApp, accountId: string): Promise<bigint> {
  const rows = await dataSource.query<{ total: string }[]>(
    `SELECT coalesce(sum(amount_micros), 0) AS total FROM transfers WHERE account_id = $1 AND kind = 'capture'`,
    [accountId],
  );
  return BigInt(rows[0]?.total ?? '0');
}

/**
 * The receipts of an account agree with its ledger, to the image: what was captured is what was delivered, and
 * no hold is left. Outcomes are written behind the answers: `others` made calls of the account as well.
 */
export async function expectReceiptsToAgree(
  service: TestApp,
  accountId: string,
  ...others: readonly TestApp[]
): Promise<void> {
  for (const { app } of [service, ...others]) await app.get(RunningGenerations).recorded(accountId);
  const [row] = await service.dataSource.query<Record<string, string>[]>(
    `SELECT (SELECT coalesce(sum(charged_micros), 0) FROM generations WHERE account_id = $1) AS charged,
            (SELECT count(*) FROM generation_tasks WHERE account_id = $1 AND status = 'delivered') AS delivered,
            (SELECT count(*) FROM holds WHERE account_id = $1 AND status = 'authorized') AS open_holds,
            (SELECT count(*) FROM generations WHERE account_id = $1 AND status IN ('running', 'unresolved')) AS open`,
    [accountId],
  );
  const captured = await capturedMicros(service, accountId);
  expect({ ...row, captured: String(captured) }).toEqual({
    charged: String(captured),
    delivered: String(captured / PRICE_MICROS),
    open_holds: '0',
    open: '0',
    captured: String(captured),
  });
}
