import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import OpenAI from 'openai';
import { sharedApp } from '../fixtures/shared-app.js';
import { expectReceiptsToAgree, MODEL } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';

let service: TestApp;
let customer: TestCustomer;
let openai: OpenAI;
/** How many requests the SDK sent: it retries by itself what it thinks worth it. */
let sent = 0;

beforeAll(async () => {
  service = await sharedApp();
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
  openai = sdk(customer.apiKey);
});
afterAll(async () => {
  await expectReceiptsToAgree(service, customer.accountId);
  await expectBooksToBalance(service.dataSource);
});

function sdk(apiKey: string): OpenAI {
  return new OpenAI({
    apiKey,
    baseURL: `${service.url}/v1`,
    fetch: (url, init) => {
      sent += 1;
      return fetch(url, init);
    },
  });
}

/** The error that the SDK throws, and the requests that it took. */
async function failure(call: () => Promise<unknown>): Promise<{ error: unknown; requests: number }> {
  sent = 0;
  try {
    await call();
  } catch (error) {
    return { error, requests: sent };
  }
  throw new Error('the call succeeded');
}

describe('the unmodified OpenAI SDK', () => {
  it('makes images by URL and inline', async () => {
    const byUrl = await openai.images.generate({ model: MODEL, prompt: 'a fox', n: 2 });
    expect(byUrl.data).toHaveLength(2);
    expect((await fetch(byUrl.data?.[0]?.url ?? '')).status).toBe(200);
    const inline = await openai.images.generate({
      model: MODEL,
      prompt: 'a fox',
      response_format: 'b64_json',
    });
    // As the provider makes it, for the client named no format.
    expect(inline.output_format).toBe('jpeg');
    const image = Buffer.from(inline.data?.[0]?.b64_json ?? '', 'base64');
    expect(image.subarray(0, 3)).toEqual(Buffer.from('ffd8ff', 'hex'));
  });

  it('lists and retrieves models, with the slash of their ids escaped as it does', async () => {
    const ids: string[] = [];
    for await (const model of openai.models.list()) ids.push(model.id);
    expect(ids).toContain(MODEL);
    expect(await openai.models.retrieve(MODEL)).toMatchObject({
      id: MODEL,
      object: 'model',
      owned_by: 'black-forest-labs',
    });
  });

  it('sees a plain APIError for 402, with the shortfall, and does not retry it', async () => {
    const poor = sdk((await service.createCustomer({ grantMicros: 10_000n })).apiKey);
    const { error, requests } = await failure(() => poor.images.generate({ model: MODEL, prompt: 'a fox' }));
    expect(error).toBeInstanceOf(OpenAI.APIError);
    expect(error).toMatchObject({
      status: 402,
      code: 'insufficient_credits',
      type: 'insufficient_credits',
      error: { shortfall_micros: '30000', limit_source: 'wallet', charged_micros: '0' },
    });
    expect((error as { requestID?: string }).requestID).toMatch(/^req_/);
    expect(requests).toBe(1);
  });

  it.each([
    ['a wrong size', { size: '1000x1000' }, OpenAI.BadRequestError, 'invalid_size', 1],
    ['streaming', { stream: true }, OpenAI.BadRequestError, 'unsupported_parameter', 1],
    ['an unknown model', { model: 'dall-e-3' }, OpenAI.NotFoundError, 'model_not_found', 1],
    [
      'a moderated prompt',
      { prompt: 'x [sandbox:moderated]' },
      OpenAI.BadRequestError,
      'content_policy_violation',
      1,
    ],
    ['a failing provider', { prompt: 'x [sandbox:error]' }, OpenAI.InternalServerError, 'upstream_failed', 3],
  ])('sees the right class for %s', async (_what, body, errorClass, code, requestsExpected) => {
    const { error, requests } = await failure(() =>
      openai.images.generate({
        model: MODEL,
        prompt: 'a fox',
        ...body,
      } as OpenAI.ImageGenerateParamsNonStreaming),
    );
    expect(error).toBeInstanceOf(errorClass);
    expect((error as { code?: string }).code).toBe(code);
    expect(requests).toBe(requestsExpected);
  });

  it('sees AuthenticationError for a wrong key and PermissionDeniedError for a missing scope', async () => {
    const wrong = await failure(() => sdk('sk-cof-wrong').images.generate({ model: MODEL, prompt: 'a' }));
    expect(wrong.error).toBeInstanceOf(OpenAI.AuthenticationError);
    const reader = await service.createCustomer({ scopes: ['wallet:read'] });
    const denied = await failure(() => sdk(reader.apiKey).images.generate({ model: MODEL, prompt: 'a' }));
    expect(denied.error).toBeInstanceOf(OpenAI.PermissionDeniedError);
  });

  it('sees NotFoundError for a model that is not there', async () => {
    const { error } = await failure(() => openai.models.retrieve('black-forest-labs/none'));
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
  });

  it('pays once for a call that it retries after a failure', async () => {
    const retried = await service.createCustomer({ grantMicros: 40_000n });
    // The second task of this prompt succeeds; the first one fails before anything is delivered.
    service.blackForestLabs?.control.fail('error', 1);
    sent = 0;
    const images = await sdk(retried.apiKey).images.generate({ model: MODEL, prompt: 'retried' });
    expect({ images: images.data?.length, requests: sent }).toEqual({ images: 1, requests: 2 });
    await expectReceiptsToAgree(service, retried.accountId);
  });

  it('gets the replay by itself when its copy meets the running call', async () => {
    const twice = await service.createCustomer({ grantMicros: 40_000n });
    const call = () =>
      sdk(twice.apiKey).images.generate(
        { model: MODEL, prompt: 'x [sandbox:slow=600]' },
        { headers: { 'Idempotency-Key': 'one' } },
      );
    const [first, copy] = await Promise.all([call(), call()]);
    expect(copy.data).toEqual(first.data);
    await expectReceiptsToAgree(service, twice.accountId);
  });
});
