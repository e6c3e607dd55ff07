import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { ClientGoneError } from '../../src/gateway/images/calls/generation.errors.js';
import { ImageCallsService } from '../../src/gateway/images/calls/image-calls.service.js';
import { DuplicateCallsService } from '../../src/gateway/images/calls/retries/duplicate-calls.service.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, expectReceiptsToAgree, generate, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import { CutOffCalls, type Sent } from '../support/images/cut-off-calls.js';
import { holdUpMaking, holdUpMoney } from '../support/images/hold-up.js';
import { drawSample } from '../support/images/sample-images.js';
import { eventually } from '../support/processes.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';
import { TestClient } from '../support/app/test-client.js';

const CREDIT_MICROS = 10_000_000n;
const WINDOW_SECONDS = 30;

let app: SharedApp;
/** A second process on the same database. */
let twin: TestApp;
let customer: TestCustomer;
let calls: CutOffCalls;
beforeAll(async () => {
  [app, twin] = [await sharedApp(), await sharedTwin()];
});
/** Its API key asks for the window; its clients announce no retries. */
beforeEach(async () => {
  const owner = await aCustomer().withCredit('10.00').create();
  const apiKey = await newKey(owner, { duplicate_window_seconds: WINDOW_SECONDS });
  customer = { ...owner, apiKey };
  calls = new CutOffCalls(app, twin, customer);
});
afterEach(async () => {
  for (const { clock } of [app, twin]) clock.reset();
  calls.letProviderFinish();
  await calls.allOver();
  await expectReceiptsToAgree(app, customer.accountId, twin);
});
afterAll(() => expectBooksToBalance(app.dataSource));

async function newKey({ client }: Pick<TestCustomer, 'client'>, settings: object): Promise<string> {
  const body = { name: 'a client', scopes: ['generate'], ...settings };
  return String((await client.post('/v1/api_keys', body)).expect(201).body.secret);
}

const images = async (): Promise<bigint> =>
  (CREDIT_MICROS - (await balancesOf(customer)).posted) / PRICE_MICROS;

/** Each process of a test has its own address, which image URLs begin with. */
const atAnyProcess = (text: string): string => text.replaceAll(twin.url, app.url);

async function send(sent: Sent = {}) {
  const answer = await calls.send({ retryCount: null, ...sent });
  const text = atAnyProcess(await answer.text());
  return { status: answer.status, text, replayed: answer.headers.get('idempotent-replayed') };
}

const elsewhere = (): Sent => ({ at: twin });

describe('the same request of an API key with a window', () => {
  it('gets the first answer again in every process, marked as a replay, and is one call in every list', async () => {
    const first = await send();
    expect(first).toMatchObject({ status: 200, replayed: null });
    for (const sent of [{}, elsewhere(), {}]) {
      expect(await send(sent)).toEqual({ ...first, replayed: 'true' });
    }
    expect(await images()).toBe(1n);
    await calls.allOver();
    const { data } = (await customer.client.get('/v1/generations')).expect(200).body;
    expect(data).toHaveLength(1);
    expect((await customer.client.get('/v1/usage')).expect(200).body.totals).toMatchObject({
      calls: 1,
      images: 1,
    });
  });

  it('waits for the first one while it runs: 20 copies over two processes are one call and one charge', async () => {
    const before = calls.submits;
    const copies = Array.from({ length: 20 }, (_, index) => send(index % 2 === 0 ? {} : elsewhere()));
    const answers = await Promise.all(copies);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers.filter(({ replayed }) => replayed === null)).toHaveLength(1);
    expect([calls.submits - before, await images()]).toEqual([1, 1n]);
  });

  it('is one call also when its client hung up on the first one, as SDKs that announce nothing do', async () => {
    calls.keepProviderBusy();
    const before = calls.submits;
    const client = new AbortController();
    const first = calls.send({ retryCount: null }, client.signal).catch((error: unknown) => error);
    await eventually('the provider works', () => calls.submits > before);
    client.abort();
    expect(await first).toBeInstanceOf(DOMException);
    const again = send(elsewhere());
    calls.letProviderFinish();
    expect((await again).replayed).toBe('true');
    expect(await images()).toBe(1n);
  });

  it('is looked for no more once its client has left', async () => {
    const working = holdUpMaking(app);
    const first = calls.send({ retryCount: null });
    await working.reached;
    const copies = jest.spyOn(twin.app.get(ImageCallsService), 'create');
    const looks = jest.spyOn(twin.app.get<{ find(): Promise<unknown> }>(DuplicateCallsService), 'find');
    const client = new AbortController();
    const copy = calls.send({ retryCount: null, ...elsewhere() }, client.signal).catch(() => 'left');
    await eventually('it is looked for again', () => looks.mock.calls.length > 1);
    client.abort();
    expect(await copy).toBe('left');
    // The first one still runs: nothing else ends its copy.
    const cause = expect.any(ClientGoneError);
    await expect(copies.mock.results[0]?.value).rejects.toMatchObject({ cause });
    working.letGo();
    expect((await first).status).toBe(200);
  });

  it('is charged once when another process asked for its credit before, and made and charged it in the meantime', async () => {
    const stalled = holdUpMoney(twin);
    const late = send(elsewhere());
    await stalled.reached;
    const first = await send();
    stalled.letGo();
    expect(await late).toEqual({ ...first, replayed: 'true' });
    expect(await images()).toBe(1n);
  });

  it('is one call for edits as well', async () => {
    const picture = await drawSample({ width: 64, height: 64 }).png().toBuffer();
    const image = `data:image/png;base64,${picture.toString('base64')}`;
    const body = { model: MODEL, prompt: 'a red fox', size: '64x64', images: [{ image_url: image }] };
    const edit = async (at: TestApp) =>
      (await at.client(customer.apiKey).post('/v1/images/edits', body))
        .expect(200)
        .headers.get('idempotent-replayed');
    expect([await edit(app), await edit(twin), await edit(app)]).toEqual([null, 'true', 'true']);
    expect(await images()).toBe(1n);
  });

  it('gets the answer of an edit that took the last credit', async () => {
    const poor = await aCustomer().withCredit('0.04').create();
    const client = app.client(await newKey(poor, { duplicate_window_seconds: WINDOW_SECONDS }));
    const picture = await drawSample({ width: 64, height: 64 }).png().toBuffer();
    const image = `data:image/png;base64,${picture.toString('base64')}`;
    const body = { model: MODEL, prompt: 'a red fox', size: '64x64', images: [{ image_url: image }] };
    (await client.post('/v1/images/edits', body)).expect(200);
    const repeated = (await client.post('/v1/images/edits', body)).expect(200);
    expect(repeated.headers.get('idempotent-replayed')).toBe('true');
  });

  it.each<[string, Sent]>([
    ['another body', { prompt: 'a cat' }],
    ['a call with an idempotency key', { key: 'a-key' }],
    ['a first attempt of an SDK that announces its retries', { retryCount: 0 }],
  ])('is what is one call; %s is another one', async (_what, sent) => {
    await send();
    expect((await send(sent)).replayed).toBeNull();
    expect((await send()).replayed).toBe('true');
    expect(await images()).toBe(2n);
  });

  it('never gets the answer of a call that had an idempotency key, or asked for another format', async () => {
    await send({ key: 'a-key' });
    expect((await send()).replayed).toBeNull();
    const own = { client: new TestClient(app.url, customer.apiKey) };
    const png = (await generate(own, { prompt: 'a fox', output_format: 'png' })).expect(200);
    expect(png.headers.get('idempotent-replayed')).toBeNull();
    expect(await images()).toBe(3n);
  });

  it('never gets the answer of another API key or account', async () => {
    await send();
    const other = await newKey(customer, { duplicate_window_seconds: WINDOW_SECONDS });
    expect((await send({ apiKey: other })).replayed).toBeNull();
    const stranger = await aCustomer().withCredit('1.00').create();
    const theirs = await newKey(stranger, { duplicate_window_seconds: WINDOW_SECONDS });
    expect((await send({ apiKey: theirs })).replayed).toBeNull();
    expect(await images()).toBe(2n);
  });

  it('is a new call, and charged, once the window is over, however often it was repeated within', async () => {
    await send();
    await calls.allOver();
    for (const { clock } of [app, twin]) clock.letPass((WINDOW_SECONDS - 5) * 1_000);
    expect((await send()).replayed).toBe('true');
    for (const { clock } of [app, twin]) clock.letPass(6_000);
    expect((await send(elsewhere())).replayed).toBeNull();
    expect(await images()).toBe(2n);
  });

  it('is a new call when the images were deleted, and when the first one failed for nothing', async () => {
    await send();
    await calls.allOver();
    const { data } = (await customer.client.get('/v1/generations?limit=1')).expect(200).body;
    (await customer.client.delete(`/v1/generations/${data[0].id}/images`)).expect(200);
    expect((await send()).replayed).toBeNull();
    app.blackForestLabs?.control.fail('error', 1);
    const failed = { prompt: 'an owl' };
    expect((await send(failed)).status).toBe(500);
    expect(await send(failed)).toMatchObject({ status: 200, replayed: null });
    expect(await images()).toBe(3n);
  });
});

describe('the window of an API key', () => {
  it('is off unless it is asked for: then the same request twice is two calls', async () => {
    const apiKey = await newKey(customer, {});
    expect((await send({ apiKey })).replayed).toBeNull();
    expect((await send({ apiKey })).replayed).toBeNull();
    expect(await images()).toBe(2n);
  });

  it('is shown with the key and can be changed, by its account and by operators', async () => {
    const made = await customer.client.post('/v1/api_keys', { name: 'a client', scopes: ['generate'] });
    const { id, duplicate_window_seconds: seconds } = made.expect(201).body;
    expect(seconds).toBe(0);
    const paths = [`/v1/api_keys/${id}`, `/v1/accounts/${customer.accountId}/api_keys/${id}`];
    for (const [index, client] of [customer.client, app.operator].entries()) {
      const body = { duplicate_window_seconds: 30 - index };
      const changed = await client.send('PATCH', paths[index] ?? '', { body });
      expect(changed.expect(200).body).toMatchObject({
        duplicate_window_seconds: 30 - index,
        spend_limits: null,
      });
      const shown = (await customer.client.get(`/v1/api_keys/${id}`)).expect(200).body;
      expect(shown.duplicate_window_seconds).toBe(30 - index);
    }
    for (const wrong of [-1, 31, 1.5, '30', true]) {
      const body = { duplicate_window_seconds: wrong };
      const { error } = (await customer.client.send('PATCH', `/v1/api_keys/${id}`, { body })).expect(
        400,
      ).body;
      expect(error).toMatchObject({ code: 'invalid_request', param: 'duplicate_window_seconds' });
    }
  });

  it('is changed by no key with spend limits', async () => {
    const body = {
      name: 'limited',
      scopes: ['generate', 'keys:write'],
      spend_limits: { day_micros: '1000000' },
    };
    const path = `/v1/accounts/${customer.accountId}/api_keys`;
    const limited = (await app.operator.post(path, body)).expect(201).body;
    const client = new TestClient(app.url, String(limited.secret));
    const patch = { body: { duplicate_window_seconds: 30 } };
    const refused = await client.send('PATCH', `/v1/api_keys/${limited.id}`, patch);
    expect(refused.expect(403).body.error.code).toBe('key_is_limited');
    const shown = (await customer.client.get(`/v1/api_keys/${limited.id}`)).expect(200).body;
    expect(shown.duplicate_window_seconds).toBe(0);
  });
});
