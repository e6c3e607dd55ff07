import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { generate, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true, settings: { rateLimit: false } });
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await service.close();
});

const idOf = (answer: TestAnswer): string =>
  answer.headers.get('x-generation-id') ?? String(answer.body.error.generation_id);

async function receiptOf({ client }: TestCustomer, answer: TestAnswer) {
  return (await client.get(`/v1/generations/${idOf(answer)}`)).expect(200).body;
}

async function listed({ client }: TestCustomer, query: Record<string, string>): Promise<string[]> {
  const { body } = (await client.get(`/v1/generations?${new URLSearchParams(query).toString()}`)).expect(200);
  return body.data.map((generation: { id: string }) => generation.id);
}

describe('a receipt', () => {
  it('names the ledger rows of its charge, one a lot, and the balance before and after them', async () => {
    const customer = await service.createCustomer({ grantMicros: 100_000n });
    const more = { amount_micros: '500000', reason: 'a second lot' };
    (await service.operator.post(`/v1/accounts/${customer.accountId}/grants`, more)).expect(201);
    const answer = (await generate(customer, { n: 3 }, { 'x-coffer-tag': 'spring' })).expect(200);
    const receipt = await receiptOf(customer, answer);
    const { body } = (await customer.client.get('/v1/wallet/transactions')).expect(200);
    const captures = body.data.filter((row: { kind: string }) => row.kind === 'capture').reverse();
    expect(captures.map((row: { amount_micros: string }) => row.amount_micros)).toEqual([
      '-100000',
      '-20000',
    ]);
    expect(receipt).toMatchObject({ operation: 'generation', references_count: 0, tag: 'spring' });
    expect(receipt.charge).toEqual({
      transactions: captures.map((row: { id: string }) => row.id),
      first_seq: '3',
      last_seq: '4',
      balance_before_micros: '600000',
      balance_after_micros: '480000',
      posted: captures[0].created,
    });
    expect((await customer.client.get('/v1/generations')).body.data[0]).toEqual({
      ...receipt,
      images: expect.anything(),
    });
  });

  it('names every attempt with its provider and task, and never what it costs us', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const receipt = await receiptOf(customer, await generate(customer, { n: 2, size: '1024x1024' }));
    const attempt = { attempt: 1, provider: 'black_forest_labs', status: 'delivered', failure: null };
    expect(receipt.attempts).toEqual([
      { ...attempt, position: 0, task: expect.any(String) },
      { ...attempt, position: 1, task: expect.any(String) },
    ]);
    expect(receipt.moderation).toBe('passed');
    expect(JSON.stringify(receipt)).not.toMatch(/cost|15000/);
  });

  it('says that the filter refused, and that nothing was charged', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const answer = await generate(customer, { prompt: '[sandbox:moderated]' });
    expect(answer.status).toBe(400);
    expect(await receiptOf(customer, answer)).toMatchObject({
      status: 'failed',
      moderation: 'refused',
      charge: null,
      charged_micros: '0',
      attempts: [{ status: 'failed', failure: 'moderated' }],
    });
  });

  it('of another account is a 404', async () => {
    const [one, other] = [
      await service.createCustomer({ grantMicros: PRICE_MICROS }),
      await service.createCustomer(),
    ];
    const answer = (await generate(one)).expect(200);
    (await other.client.get(`/v1/generations/${idOf(answer)}`)).expect(404);
    expect(await listed(other, {})).toEqual([]);
  });
});

describe('the list of receipts', () => {
  it('is narrowed by model, API key, tag or user, status and time, and pages through what is left', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const plain = idOf((await generate(customer)).expect(200));
    const tagged = idOf(
      (await generate(customer, { user: 'user-7' }, { 'x-coffer-tag': 'spring' })).expect(200),
    );
    const ofUser = idOf((await generate(customer, { user: 'user-7' })).expect(200));
    const failed = idOf(await generate(customer, { prompt: '[sandbox:error]' }));
    const all = [failed, ofUser, tagged, plain];
    const { api_key: key } = (await customer.client.get(`/v1/generations/${plain}`)).body;
    const today = new Date().toISOString().slice(0, 10);
    expect(await listed(customer, {})).toEqual(all);
    expect(await listed(customer, { model: MODEL })).toEqual(all);
    expect(await listed(customer, { model: 'another' })).toEqual([]);
    expect(await listed(customer, { api_key: key })).toEqual(all);
    expect(await listed(customer, { api_key: newId('apiKey') })).toEqual([]);
    expect(await listed(customer, { tag: 'spring' })).toEqual([tagged]);
    expect(await listed(customer, { tag: 'user-7' })).toEqual([ofUser]);
    expect(await listed(customer, { status: 'failed' })).toEqual([failed]);
    expect(await listed(customer, { from: today, status: 'succeeded' })).toEqual([ofUser, tagged, plain]);
    expect(await listed(customer, { to: today })).toEqual([]);
    expect(await listed(customer, { from: '2026-01-01', to: today })).toEqual([]);
    expect(await listed(customer, { status: 'succeeded', limit: '2', starting_after: ofUser })).toEqual([
      tagged,
      plain,
    ]);
    expect(await listed(customer, { status: 'succeeded', limit: '1', ending_before: plain })).toEqual([
      tagged,
    ]);
  });

  it.each([
    ['a day that no calendar has', { from: '2026-02-30' }, 'from'],
    ['an end before its beginning', { from: '2026-03-02', to: '2026-03-01' }, 'to'],
    ['a search through more than 31 days', { tag: 'x', from: '2026-01-01', to: '2026-03-01' }, 'from'],
    ['a status that there is not', { status: 'lost' }, 'status'],
    ['a parameter that there is not', { colour: 'red' }, 'colour'],
  ])('refuses %s, and names the parameter', async (_what, query, param) => {
    const { client } = await service.createCustomer();
    const answer = await client.get(
      `/v1/generations?${new URLSearchParams(query as Record<string, string>).toString()}`,
    );
    expect(answer.expect(400).body.error.param).toBe(param);
  });

  it('takes one query for each of its tables, however long the page is', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    for (let calls = 0; calls < 6; calls += 1) (await generate(customer)).expect(200);
    const queries: string[] = [];
    const { logger } = service.dataSource;
    Object.assign(service.dataSource, {
      logger: { ...logger, logQuery: (sql: string) => void queries.push(sql) },
    });
    try {
      await listed(customer, { limit: '5' });
    } finally {
      Object.assign(service.dataSource, { logger });
    }
    const reads = queries.filter((sql) => /FROM "?(generations|generation_tasks|transfers)"?\b/.test(sql));
    expect(reads).toHaveLength(3);
  });
});
