import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterAll(() => expectBooksToBalance(app.dataSource));

const begin = (): Promise<ReturnHistory> => beginHistory(app, app.control);

const post = async (
  { accountId }: ReturnHistory,
  route: 'freeze' | 'unfreeze',
  body: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> =>
  (await app.operator.post(`/v1/accounts/${accountId}/${route}`, body)).expect(200).body;

type FreezeView = { readonly id: string; readonly source: string; readonly lifted_at: number | null };

/** The sources of the freezes that are in force, sorted. */
async function reasons({ accountId }: ReturnHistory): Promise<string[]> {
  const answer = await app.operator.get(`/v1/accounts/${accountId}/freezes`);
  const freezes = answer.expect(200).body.data as readonly FreezeView[];
  return freezes
    .filter((freeze) => freeze.lifted_at === null)
    .map(({ source }) => source)
    .sort();
}

const statusOf = async (history: ReturnHistory): Promise<string> => (await history.left()).status ?? '';

describe('a won dispute', () => {
  it('leaves a wallet frozen that an operator froze before it', async () => {
    const history = await begin();
    await post(history, 'freeze', { reason: 'Card testing suspected' });
    await history.take(['dispute', 'needs_response']);
    await history.take(['becomes', 'won']);
    expect(await statusOf(history)).toBe('frozen');
    expect(await reasons(history)).toEqual(['operator']);
  });

  it('leaves a wallet frozen that an operator froze while it was open', async () => {
    const history = await begin();
    await history.take(['dispute', 'needs_response']);
    await post(history, 'freeze', { reason: 'Card testing suspected' });
    await history.take(['becomes', 'won']);
    expect(await statusOf(history)).toBe('frozen');
  });

  it('leaves a wallet frozen of whose payment an issuer warned', async () => {
    const history = await begin();
    await history.take(['warning']);
    await history.take(['dispute', 'needs_response']);
    expect(await reasons(history)).toEqual(['dispute', 'early_fraud_warning']);
    await history.take(['becomes', 'won']);
    expect(await statusOf(history)).toBe('frozen');
    expect(await reasons(history)).toEqual(['early_fraud_warning']);
    await post(history, 'unfreeze', { reason: 'looked at' });
    expect(await statusOf(history)).toBe('active');
  });
});

describe('an operator', () => {
  it('lifts one reason by its id, or all of them, and each is kept with who lifted it and why', async () => {
    const history = await begin();
    await history.take(['warning']);
    const frozen = await post(history, 'freeze', { reason: 'Card testing suspected' });
    expect(frozen).toMatchObject({ status: 'frozen', changed: true });
    const own = (frozen['freezes'] as readonly FreezeView[]).find(({ source }) => source === 'operator');
    const one = await post(history, 'unfreeze', { reason: 'a test of ours', freeze: own?.id });
    expect(one).toMatchObject({
      status: 'frozen',
      changed: true,
      freezes: [{ source: 'early_fraud_warning' }],
    });
    expect(await post(history, 'unfreeze', { reason: 'again', freeze: own?.id })).toMatchObject({
      status: 'frozen',
      changed: false,
    });
    expect(await post(history, 'unfreeze', { reason: 'looked at' })).toMatchObject({
      status: 'active',
      changed: true,
      freezes: [],
    });
    const list = await app.operator.get(`/v1/accounts/${history.accountId}/freezes`);
    expect(list.expect(200).body.data).toMatchObject([
      { source: 'operator', reason: 'Card testing suspected', lifted_reason: 'a test of ours' },
      { source: 'early_fraud_warning', lifted_reason: 'looked at' },
    ]);
  });
});

describe('the database', () => {
  let owner: DataSource;

  beforeAll(async () => {
    owner = await new DataSource({ type: 'postgres', url: app.databaseUrl }).initialize();
  });
  afterAll(() => owner.destroy());

  it.each([
    [
      'freezes no wallet without a reason',
      'active',
      `UPDATE wallets SET status = 'frozen' WHERE account_id = $1`,
    ],
    [
      'unfreezes no wallet that a reason is left for',
      'frozen',
      `UPDATE wallets SET status = 'active' WHERE account_id = $1`,
    ],
    [
      'lifts no reason of a wallet that stays frozen for nothing',
      'frozen',
      `UPDATE wallet_freezes SET lifted_at = now(), lifted_by = 'x', lifted_reason = 'x' WHERE account_id = $1`,
    ],
  ])('%s', async (_what, status, sql) => {
    const history = await begin();
    if (status === 'frozen') await post(history, 'freeze', { reason: 'suspicion' });
    await expect(owner.query(sql, [history.accountId])).rejects.toMatchObject({
      driverError: { constraint: 'wallets_frozen_for_a_reason' },
    });
  });
});
