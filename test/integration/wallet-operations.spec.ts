import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sharedApp } from '../fixtures/shared-app.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp } from '../support/app/test-app.js';

describe('operations on a wallet', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await sharedApp();
  });

  afterAll(() => expectBooksToBalance(app.dataSource));

  const accountWith = async (grantMicros: bigint): Promise<string> =>
    (await app.createCustomer({ grantMicros })).accountId;

  async function wallet(account: string): Promise<Record<string, unknown>> {
    return (await app.operator.get(`/v1/accounts/${account}/wallet`)).expect(200).body;
  }

  it('grants once an idempotency key, and adjusts up and down but never below zero', async () => {
    const account = await accountWith(0n);
    const grant = { amount_micros: '50000', reason: 'welcome' };
    const keyed = { 'idempotency-key': 'grant-1' };
    const first = (await app.operator.post(`/v1/accounts/${account}/grants`, grant, keyed)).expect(201).body;
    const again = (await app.operator.post(`/v1/accounts/${account}/grants`, grant, keyed)).body;
    expect([again.id, again.replayed]).toEqual([first.id, true]);
    (
      await app.operator.post(`/v1/accounts/${account}/grants`, { ...grant, amount_micros: '1' }, keyed)
    ).expect(409);
    const adjust = (amount: string) =>
      app.operator.post(`/v1/accounts/${account}/adjustments`, { amount_micros: amount, reason: 'test' });
    (await adjust('30000')).expect(201);
    // Promotional credit is not a customer's money: an adjustment takes paid credit only.
    (await adjust('-30001')).expect(402);
    expect((await adjust('-30000')).expect(201).body.posted_micros).toBe('50000');
  });

  it('answers a repeated grant as it did the first time, also when the credit has lapsed since', async () => {
    const account = await accountWith(0n);
    const nowSeconds = Math.trunc(app.clock.nowMs() / 1_000);
    const grant = { amount_micros: '50000', reason: 'for a day', expires_at: nowSeconds + 86_400 };
    const keyed = { 'idempotency-key': 'grant-for-a-day' };
    const first = (await app.operator.post(`/v1/accounts/${account}/grants`, grant, keyed)).expect(201).body;
    app.clock.letPass(2 * 86_400_000);
    try {
      const again = await app.operator.post(`/v1/accounts/${account}/grants`, grant, keyed);
      expect(again.expect(201).body).toMatchObject({ id: first.id, replayed: true });
      const late = await app.operator.post(`/v1/accounts/${account}/grants`, {
        ...grant,
        reason: 'too late',
      });
      expect(late.expect(400).body.error).toMatchObject({ param: 'expires_at' });
    } finally {
      app.clock.reset();
    }
    expect(await wallet(account)).toMatchObject({ posted_micros: '50000' });
  });

  it('spends promotional credit before paid credit, and the soonest to lapse first', async () => {
    const account = await accountWith(0n);
    const inAnHour = Math.trunc(Date.now() / 1_000) + 3_600;
    await app.operator.post(`/v1/accounts/${account}/adjustments`, {
      amount_micros: '100',
      reason: 'paid',
    });
    await app.operator.post(`/v1/accounts/${account}/grants`, {
      amount_micros: '100',
      reason: 'later',
      expires_at: inAnHour + 60,
    });
    await app.operator.post(`/v1/accounts/${account}/grants`, {
      amount_micros: '100',
      reason: 'sooner',
      expires_at: inAnHour,
    });
    (await app.operator.post('/v1/debits', { account, reference: 'burn', amount_micros: '150' })).expect(201);
    const lots = (await wallet(account))['lots'] as {
      kind: string;
      remaining_micros: string;
      expires_at: number | null;
    }[];
    expect(lots.map((lot) => [lot.kind, lot.remaining_micros, lot.expires_at])).toEqual([
      ['promotional', '50', inAnHour + 60],
      ['paid', '100', null],
    ]);
  });

  it('a frozen wallet takes credit and spends none, until it is unfrozen', async () => {
    const account = await accountWith(100_000n);
    (await app.operator.post(`/v1/accounts/${account}/freeze`, { reason: 'suspicion' })).expect(200);
    const refusal = await app.operator.post('/v1/debits', { account, reference: 'f', amount_micros: '1' });
    expect(refusal.expect(402).body.error).toMatchObject({ code: 'wallet_frozen', limit_source: 'frozen' });
    (
      await app.operator.post(`/v1/accounts/${account}/grants`, {
        amount_micros: '1',
        reason: 'still welcome',
      })
    ).expect(201);
    expect(
      (await app.operator.post(`/v1/accounts/${account}/freeze`, { reason: 'again' })).body.changed,
    ).toBe(false);
    (await app.operator.post(`/v1/accounts/${account}/unfreeze`, { reason: 'cleared' })).expect(200);
    (await app.operator.post('/v1/debits', { account, reference: 'f', amount_micros: '1' })).expect(201);
  });

  it('lists the ledger rows newest first, with cursors in both directions', async () => {
    const customer = await app.createCustomer({ grantMicros: 1_000n });
    for (let index = 0; index < 5; index += 1) {
      const body = { account: customer.accountId, reference: `p${index}`, amount_micros: '1' };
      (await app.operator.post('/v1/debits', body)).expect(201);
    }
    const get = async (query: string) =>
      (await customer.client.get(`/v1/wallet/transactions?${query}`)).expect(200).body;
    const references = (page: { data: { reference: string }[] }) => page.data.map((row) => row.reference);
    const firstPage = await get('limit=2');
    expect([references(firstPage), firstPage.has_more]).toEqual([['debit:p4', 'debit:p3'], true]);
    const next = await get(`limit=10&starting_after=${firstPage.data[1].id}`);
    expect([references(next).slice(0, 3), next.has_more]).toEqual([
      ['debit:p2', 'debit:p1', 'debit:p0'],
      false,
    ]);
    const back = await get(`limit=2&ending_before=${next.data[1].id}`);
    expect([references(back), back.has_more]).toEqual([['debit:p3', 'debit:p2'], true]);
    (await customer.client.get('/v1/wallet/transactions?starting_after=txn_other')).expect(400);
    (await customer.client.get('/v1/wallet/transactions?limit=101')).expect(400);
  });
});
