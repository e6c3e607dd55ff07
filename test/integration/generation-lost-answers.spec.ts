import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import OpenAI, { toFile } from 'openai';
import { ANSWERED_WINDOW_MS } from '../../src/gateway/images/calls/retries/retry-claims.service.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, expectReceiptsToAgree, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import { CutOffCalls, type Sent } from '../support/images/cut-off-calls.js';
import { drawSample } from '../support/images/sample-images.js';
import { eventually } from '../support/processes.js';
import { LossyHop } from '../support/servers/lossy-hop.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';

const CREDIT_MICROS = 10_000_000n;

let app: SharedApp;
/** A second process on the same database. */
let twin: TestApp;
let hop: LossyHop;
let customer: TestCustomer;
let calls: CutOffCalls;
beforeAll(async () => {
  [app, twin] = [await sharedApp(), await sharedTwin()];
  hop = await LossyHop.start(app.url);
});
beforeEach(async () => {
  customer = await aCustomer().withCredit('10.00').create();
  calls = new CutOffCalls(app, twin, customer);
});
afterEach(async () => {
  for (const { clock } of [app, twin]) clock.reset();
  calls.letProviderFinish();
  hop.loseNext(0);
  await calls.allOver();
  await expectReceiptsToAgree(app, customer.accountId, twin);
});
afterAll(async () => {
  await hop.close();
  await expectBooksToBalance(app.dataSource);
});

const paid = async (): Promise<bigint> => CREDIT_MICROS - (await balancesOf(customer)).posted;
const images = async (): Promise<bigint> => (await paid()) / PRICE_MICROS;

/** Each process of a test has its own address, which image URLs begin with. */
const atAnyProcess = (text: string): string => text.replaceAll(twin.url, app.url);

/** Sends it, reads the whole answer, and leaves the connection open: the service has seen the answer received. */
async function send(retryCount: number | null, sent: Sent = {}) {
  const answer = await calls.send({ retryCount, ...sent });
  const text = atAnyProcess(await answer.text());
  await calls.allOver();
  return { status: answer.status, text, replayed: answer.headers.get('idempotent-replayed') };
}

const sdk = (apiKey = customer.apiKey): OpenAI => new OpenAI({ apiKey, baseURL: `${hop.url}/v1` });

describe('an SDK whose answer was read by a proxy and lost after it', () => {
  it('is charged once for a generation and once for an edit, and has its images', async () => {
    hop.loseNext(1);
    const made = await sdk().images.generate({ model: MODEL, prompt: 'a fox', size: '1024x1024' });
    expect((await fetch(made.data?.[0]?.url ?? '')).status).toBe(200);
    expect(await images()).toBe(1n);
    hop.loseNext(1);
    const image = await toFile(await drawSample({ width: 64, height: 64 }).png().toBuffer(), 'fox.png', {
      type: 'image/png',
    });
    const edited = await sdk().images.edit({ model: MODEL, prompt: 'a red fox', image });
    expect(edited.data).toHaveLength(1);
    expect(await images()).toBe(2n);
    expect(hop.retryCounts).toEqual(['0', '1', '0', '1']);
  });

  it('is charged once also when the answer of its retry is lost as well', async () => {
    hop.loseNext(2);
    await sdk().images.generate({ model: MODEL, prompt: 'a fox', size: '1024x1024' });
    expect(await images()).toBe(1n);
  });

  it('is charged once for each of five clients that send the same at once, each with its own API key and picture', async () => {
    const secrets = await Promise.all(
      Array.from({ length: 5 }, async (_, index) => {
        const body = { name: `client ${index}`, scopes: ['generate'] };
        return String((await customer.client.post('/v1/api_keys', body)).expect(201).body.secret);
      }),
    );
    hop.loseNext(5);
    const urls = await Promise.all(
      secrets.map(async (secret) => {
        const made = await sdk(secret).images.generate({ model: MODEL, prompt: 'a fox', size: '1024x1024' });
        return made.data?.[0]?.url;
      }),
    );
    expect(new Set(urls).size).toBe(5);
    expect(await images()).toBe(5n);
  });
});

describe('a retry that finds the identical call answered in the last seconds', () => {
  it.each(['the same process', 'another process'])(
    'gets that answer in %s, marked as a replay',
    async (where) => {
      const at = where === 'the same process' ? app : twin;
      const first = await send(0);
      expect(first.replayed).toBeNull();
      expect(await send(1, { at })).toEqual({ status: 200, text: first.text, replayed: 'true' });
      expect(await images()).toBe(1n);
    },
  );

  it('shares it with no other retry of its number: identical calls stay as many as they were', async () => {
    const firsts = await Promise.all([calls.send(), calls.send({ at: twin }), calls.send()]);
    const texts = await Promise.all(firsts.map(async (answer) => atAnyProcess(await answer.text())));
    await calls.allOver();
    const retries = await Promise.all(
      [1, 1, 1, 1].map((count, index) => send(count, { at: index % 2 ? app : twin })),
    );
    const replays = retries.filter(({ replayed }) => replayed === 'true');
    expect(replays.map(({ text }) => text).sort()).toEqual(texts.sort());
    // The fourth repeats no call, so it is a call of its own.
    expect(await images()).toBe(4n);
  });

  it('gets another one than an identical call whose connection broke, and whose retry came first', async () => {
    const throughProxy = await send(0);
    await calls.whileProviderWorks();
    calls.letProviderFinish();
    await calls.allOver();
    const [first, second] = [await send(1), await send(1)];
    expect([first.replayed, second.replayed]).toEqual(['true', 'true']);
    expect(second.text).toBe(throughProxy.text);
    expect(first.text).not.toBe(throughProxy.text);
    expect(await images()).toBe(2n);
  });

  it('gets it again as its second retry, when the answer of the first one was lost as well', async () => {
    const { text } = await send(0);
    for (const [count, at] of [
      [1, twin],
      [2, app],
      [3, twin],
    ] as const) {
      expect(await send(count, { at })).toMatchObject({ text, replayed: 'true' });
    }
    expect(await images()).toBe(1n);
  });

  it.each<[string, number | null, Sent]>([
    ['a first attempt', 0, {}],
    ['a client that announces no retries', null, {}],
    ['another body', 1, { prompt: 'a cat' }],
    ['a call with an idempotency key', 1, { key: 'a-key' }],
  ])('is what gets it; %s is a new call', async (_who, retryCount, sent) => {
    await send(0);
    expect((await send(retryCount, sent)).replayed).toBeNull();
    expect(await images()).toBe(2n);
  });

  it('never gets one of another API key, of another account, or of a client that announces no retries', async () => {
    await send(null);
    expect((await send(1)).replayed).toBeNull();
    const key = await customer.client.post('/v1/api_keys', { name: 'another', scopes: ['generate'] });
    expect((await send(1, { apiKey: String(key.expect(201).body.secret) })).replayed).toBeNull();
    expect(await images()).toBe(3n);
    const stranger = await aCustomer().withCredit('1.00').create();
    expect((await send(1, { apiKey: stranger.apiKey })).replayed).toBeNull();
    expect((await balancesOf(stranger)).posted).toBe(960_000n);
  });

  it('is a new call, and charged, once those seconds are over or the images were deleted', async () => {
    const first = await send(0);
    for (const { clock } of [app, twin]) clock.letPass(ANSWERED_WINDOW_MS + 1_000);
    expect((await send(1, { at: twin })).replayed).toBeNull();
    expect(await images()).toBe(2n);
    for (const { clock } of [app, twin]) clock.reset();
    const other = await send(0, { prompt: 'a cat' });
    expect(other.text).not.toBe(first.text);
    const { data } = (await customer.client.get('/v1/generations?limit=1')).expect(200).body;
    (await customer.client.delete(`/v1/generations/${data[0].id}/images`)).expect(200);
    expect((await send(1, { prompt: 'a cat' })).replayed).toBeNull();
    expect(await images()).toBe(4n);
  });
});

describe('identical calls of which some were refused', () => {
  it('get different pictures: the retry of a call that we refused is a call of its own', async () => {
    const body = { reason: 'a test', concurrent_requests: 2 };
    (await app.operator.send('PUT', `/v1/accounts/${customer.accountId}/limits`, { body })).expect(200);
    calls.keepProviderBusy();
    const sent = Array.from({ length: 4 }, () => calls.send());
    let refused = 0;
    for (const call of sent) void call.then(({ status }) => (refused += status === 429 ? 1 : 0));
    await eventually('two of them are refused', () => refused === 2);
    calls.letProviderFinish();
    const answers = await Promise.all(sent);
    const made = answers.filter(({ status }) => status === 200);
    const texts = await Promise.all(made.map(async (answer) => atAnyProcess(await answer.text())));
    await calls.allOver();
    for (let retry = 0; retry < 2; retry += 1) {
      const { text, replayed } = await send(1);
      expect(replayed).toBeNull();
      texts.push(text);
    }
    expect(new Set(texts).size).toBe(4);
    expect(await images()).toBe(4n);
    // A fifth retry is explained by no refusal: an answer of the four was lost.
    expect((await send(1)).replayed).toBe('true');
    expect(await images()).toBe(4n);
  });
});
