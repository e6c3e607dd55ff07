import { beforeAll, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { RunningGenerationsService } from '../../src/gateway/images/calls/running-generations.service.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { balancesOf, expectReceiptsToAgree, generate, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import type { TestApp } from '../support/app/test-app.js';

const CREDIT_MICROS = 1_000_000n;
const COUNTS = [1, 3, 10] as const;

let service: TestApp;
beforeAll(async () => {
  service = await sharedApp();
});

describe('a call of the images API', () => {
  it.each(COUNTS)('charges the price of the %i images that it delivers, and says so', async (n) => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const answer = (await generate(customer, { n })).expect(200);
    const charged = PRICE_MICROS * BigInt(n);
    expect(answer.body.data).toHaveLength(n);
    expect(Object.keys(answer.body).sort()).toEqual(['created', 'data', 'output_format']);
    expect(answer.headers.get('x-charged-micros')).toBe(String(charged));
    expect(answer.headers.get('x-wallet-available-micros')).toBe(String(CREDIT_MICROS - charged));
    expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
    expect(await balancesOf(customer)).toEqual({
      available: CREDIT_MICROS - charged,
      held: 0n,
      posted: CREDIT_MICROS - charged,
    });
    await expectReceiptsToAgree(service, customer.accountId);
  });

  it.each(['png', 'jpeg', 'webp'] as const)(
    'delivers a real %s of the asked size, inline and by URL',
    async (format) => {
      const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
      const request = { output_format: format, size: '96x64', prompt: `a ${format}` };
      const inline = (await generate(customer, { ...request, response_format: 'b64_json' })).expect(200);
      const byUrl = (await generate(customer, request)).expect(200);
      const fetched = await fetch(byUrl.body.data[0].url);
      expect(fetched.headers.get('content-type')).toBe(`image/${format}`);
      const images = [
        Buffer.from(inline.body.data[0].b64_json, 'base64'),
        Buffer.from(await fetched.arrayBuffer()),
      ];
      for (const image of images) {
        expect(await sharp(image).metadata()).toMatchObject({ format, width: 96, height: 64 });
      }
    },
  );

  it('keeps a receipt with the price, the hold, the charge and the times', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const answer = (await generate(customer, { n: 2, user: 'user-7' })).expect(200);
    const id = answer.headers.get('x-generation-id') ?? '';
    const receipt = (await customer.client.get(`/v1/generations/${id}`)).expect(200).body;
    expect(receipt).toMatchObject({
      object: 'generation',
      id,
      status: 'succeeded',
      model: MODEL,
      size: '64x64',
      images_requested: 2,
      images_delivered: 2,
      unit_price_micros: '40000',
      charged_micros: '80000',
      error_code: null,
      user: 'user-7',
      request_id: answer.headers.get('x-request-id'),
      created: answer.body.created,
    });
    expect(receipt.price_id).toMatch(/^price_/);
    expect(receipt.timings.total_ms).toBeGreaterThanOrEqual(receipt.timings.provider_ms);
    for (const image of receipt.images) expect((await fetch(image.url)).status).toBe(200);
    const [memo] = await service.dataSource.query<{ memo: string }[]>(
      `SELECT memo FROM transfers WHERE account_id = $1 AND reference = $2`,
      [customer.accountId, `capture:${receipt.hold}`],
    );
    expect(memo?.memo).toBe(`${MODEL} x2 @${receipt.price_id}`);
  });

  it('books what the provider charges us for each image, and keeps no prompt', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    (await generate(customer, { n: 2, prompt: 'a secret plan', size: '1024x1024' })).expect(200);
    // The receipts are written after the answer.
    await service.app.get(RunningGenerationsService).recorded(customer.accountId);
    const tasks = await service.dataSource.query<Record<string, unknown>[]>(
      'SELECT * FROM generation_tasks WHERE account_id = $1',
      [customer.accountId],
    );
    expect(tasks.map((task) => task['upstream_cost_micros'])).toEqual(['15000', '15000']);
    const rows = await service.dataSource.query<unknown[]>(
      'SELECT * FROM generations WHERE account_id = $1',
      [customer.accountId],
    );
    expect(JSON.stringify([tasks, rows])).not.toContain('secret plan');
  });

  it('refuses with 402 before anything is asked of the provider, and says how much is missing', async () => {
    const customer = await service.createCustomer({ grantMicros: 100_000n });
    const before = service.blackForestLabs?.control.counts().submits;
    const answer = (await generate(customer, { n: 3 })).expect(402);
    expect(answer.body.error).toMatchObject({
      type: 'insufficient_credits',
      code: 'insufficient_credits',
      param: null,
      required_micros: '120000',
      available_micros: '100000',
      held_micros: '0',
      shortfall_micros: '20000',
      limit_source: 'wallet',
      charged_micros: '0',
    });
    expect(answer.body.error.top_up_url).toMatch(/^http/);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(answer.headers.get('x-charged-micros')).toBe('0');
    expect(answer.headers.get('x-wallet-available-micros')).toBe('100000');
    expect(service.blackForestLabs?.control.counts().submits).toBe(before);
    const rows = await service.dataSource.query<unknown[]>(
      'SELECT 1 FROM generations WHERE account_id = $1',
      [customer.accountId],
    );
    expect(rows).toEqual([]);
    (await generate(customer, { n: 2 })).expect(200);
  });

  it('says limit_source frozen for a frozen wallet', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    (await service.operator.post(`/v1/accounts/${customer.accountId}/freeze`, { reason: 'test' })).expect(
      200,
    );
    const answer = (await generate(customer)).expect(402);
    expect(answer.body.error).toMatchObject({
      code: 'wallet_frozen',
      limit_source: 'frozen',
      charged_micros: '0',
    });
  });

  it('leaves a receipt to its own account only', async () => {
    const owner = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const other = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const id = (await generate(owner)).expect(200).headers.get('x-generation-id') ?? '';
    (await other.client.get(`/v1/generations/${id}`)).expect(404);
    (await other.client.get('/v1/generations/nonsense')).expect(404);
    expect((await other.client.get('/v1/generations')).expect(200).body.data).toEqual([]);
  });

  it('lists receipts newest first, page by page', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const ids: (string | null)[] = [];
    for (let call = 0; call < 5; call += 1)
      ids.unshift((await generate(customer)).headers.get('x-generation-id'));
    const first = (await customer.client.get('/v1/generations?limit=2')).expect(200).body;
    const second = (await customer.client.get(`/v1/generations?limit=10&starting_after=${first.data[1].id}`))
      .body;
    const back = (await customer.client.get(`/v1/generations?limit=2&ending_before=${second.data[0].id}`))
      .body;
    expect([...first.data, ...second.data].map((receipt) => receipt.id)).toEqual(ids);
    expect([first.has_more, second.has_more]).toEqual([true, false]);
    expect(back.data).toEqual(
      first.data.map((receipt: object) => ({ ...receipt, images: expect.anything() })),
    );
  });

  it('needs the scope generate', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS, scopes: ['wallet:read'] });
    (await generate(customer)).expect(403);
    (await service.client(null).post('/v1/images/generations', { model: MODEL, prompt: 'a' })).expect(401);
    (await service.operator.post('/v1/images/generations', { model: MODEL, prompt: 'a' })).expect(403);
  });

  it('finishes and charges a call whose client hung up, and keeps the images', async () => {
    const customer = await service.createCustomer({ grantMicros: CREDIT_MICROS });
    const gone = new AbortController();
    const tasks = () => service.blackForestLabs?.control.counts().tasks ?? 0;
    const before = tasks();
    service.upstreamClock.stop();
    const call = fetch(`${service.url}/v1/images/generations`, {
      method: 'POST',
      signal: gone.signal,
      headers: { authorization: `Bearer ${customer.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, prompt: 'a fox [sandbox:slow=400]', size: '64x64' }),
    }).catch((error: unknown) => error);
    await eventually('the call is at the provider', () => tasks() > before);
    gone.abort();
    expect(await call).toMatchObject({ name: 'AbortError' });
    service.upstreamClock.reset();
    const calls = async () => (await customer.client.get('/v1/generations')).expect(200).body.data;
    await eventually('the call is over', async () => {
      // Its row is written a moment after the provider has the task.
      const [made] = await calls();
      return made !== undefined && made.status !== 'running';
    });
    const data = await calls();
    expect(data).toMatchObject([{ status: 'succeeded', charged_micros: '40000' }]);
    expect((await fetch(data[0].images[0].url)).status).toBe(200);
    await expectReceiptsToAgree(service, customer.accountId);
  });
});

describe('after all of this', () => {
  it('the books balance', async () => {
    await expectBooksToBalance(service.dataSource);
  });
});
