import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { BlackForestLabsDriver, KEY } from '../support/images/black-forest-labs-driver.js';

let driver: BlackForestLabsDriver;

beforeEach(async () => {
  driver = await BlackForestLabsDriver.start();
});

afterEach(() => driver.close());

describe('a generation', () => {
  it('goes from submit to pending to ready to a picture of the asked size', async () => {
    await driver.restart({ instant: false, latencyMs: 150 });
    const task = await driver.submit('A red bicycle', { seed: 42 });
    expect(task).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      polling_url: expect.stringContaining(task.id),
      cost: 1.5,
      input_mp: 0,
      output_mp: 0.03,
    });
    expect(await driver.get(task.polling_url)).toMatchObject({
      status: 200,
      body: { id: task.id, status: 'Pending', result: null },
    });
    driver.letPass(200);
    const ready = await driver.get(task.polling_url);
    expect(ready.body).toMatchObject({
      status: 'Ready',
      result: { prompt: 'A red bicycle', seed: 42, duration: 0.15 },
    });
    const picture = await fetch(ready.body.result.sample);
    expect(picture.headers.get('content-type')).toBe('image/png');
    const metadata = await sharp(Buffer.from(await picture.arrayBuffer())).metadata();
    expect(metadata).toMatchObject({ format: 'png', width: 256, height: 128 });
  });

  it.each([
    ['png', 64, 64],
    ['png', 64, 2_048],
    ['jpeg', 1_024, 1_024],
    ['webp', 1_536, 640],
    ['jpeg', 2_048, 2_048],
  ])('delivers a whole %s of %d x %d, whatever the prompt is', async (format, width, height) => {
    const prompt = `Ünïcode ☂ 漢字 🚲 ${'long '.repeat(500)}${'x'.repeat(500)}`;
    const { result } = await driver.resultOf(prompt, { width, height, output_format: format });
    const bytes = Buffer.from(await (await fetch(result.sample)).arrayBuffer());
    const { data, info } = await sharp(bytes, { failOn: 'warning' })
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width, height });
    expect((await sharp(bytes).metadata()).format).toBe(format);
    // Neither blank nor noise: letters of pure white stand on a darker ground.
    const isWhite = (index: number): boolean => (data[index] ?? 0) > 250 && (data[index + 1] ?? 0) > 250;
    let white = 0;
    for (let index = 0; index < data.length; index += info.channels) white += isWhite(index) ? 1 : 0;
    expect(white / (width * height)).toBeGreaterThan(0.02);
    expect(white / (width * height)).toBeLessThan(0.6);
  });

  it('draws the same picture for the same seed, and other colours for another', async () => {
    const draw = async (prompt: string, seed: number) => {
      const { result } = await driver.resultOf(prompt, { seed });
      return Buffer.from(await (await fetch(result.sample)).arrayBuffer());
    };
    const first = await draw('cat', 1);
    expect((await draw('cat', 1)).equals(first)).toBe(true);
    expect((await draw('cat', 2)).equals(first)).toBe(false);
    expect((await draw('dog', 1)).equals(first)).toBe(false);
  });

  it('defaults to a jpeg of one megapixel, and follows a reference image when there is one', async () => {
    const plain = await driver.get((await driver.post({ prompt: 'cat' })).body.polling_url);
    expect(plain.body.result.sample).toMatch(/sample\.jpeg$/);
    const reference = await sharp({ create: { width: 330, height: 200, channels: 3, background: 'red' } })
      .png()
      .toBuffer();
    const edited = await driver.post({
      prompt: 'cat',
      input_image: `data:image/png;base64,${reference.toString('base64')}`,
    });
    expect(edited.body).toMatchObject({ cost: 1.7, input_mp: 0.07 });
    const ready = await driver.get(edited.body.polling_url);
    const bytes = await (await fetch(ready.body.result.sample)).arrayBuffer();
    expect(await sharp(Buffer.from(bytes)).metadata()).toMatchObject({
      format: 'jpeg',
      width: 320,
      height: 192,
    });
  });

  it.each([
    [1_024, 1_024, 1.5],
    [64, 64, 1.5],
    [1_040, 1_024, 1.7],
    [2_048, 1_024, 1.7],
    [2_048, 2_048, 2.1],
  ])('charges for %d x %d what the price list says: %d credits', async (width, height, cost) => {
    expect((await driver.submit('cat', { width, height })).cost).toBe(cost);
  });

  it('is found only in the region that polling_url names, and the result only by its whole URL', async () => {
    const task = await driver.submit('cat');
    const rebuilt = await driver.get(`${driver.sandbox.baseUrl}/v1/get_result?id=${task.id}`);
    expect(rebuilt.body).toMatchObject({ id: task.id, status: 'Task not found', result: null });
    const sample = (await driver.get(task.polling_url)).body.result.sample;
    const guessed = sample.replace(/[^/]+\/sample/, `${randomBytes(9).toString('base64url')}/sample`);
    expect((await fetch(guessed)).status).toBe(404);
    expect((await fetch(sample)).status).toBe(200);
    expect(driver.sandbox.control.counts().keysSentToDelivery).toBe(0);
    await fetch(sample, { headers: KEY });
    expect(driver.sandbox.control.counts().keysSentToDelivery).toBe(1);
  });

  it('lets a result expire', async () => {
    await driver.restart({ resultTtlMs: 50 });
    const { result } = await driver.resultOf('cat');
    expect((await fetch(result.sample)).status).toBe(200);
    driver.letPass(80);
    expect((await fetch(result.sample)).status).toBe(403);
  });
});

describe('strictness', () => {
  it.each([
    ['no prompt', {}, 'prompt', 'missing'],
    ['a prompt that is no text', { prompt: 5 }, 'prompt', 'string_type'],
    ['a prompt that is null', { prompt: null }, 'prompt', 'string_type'],
    ['a side below 64', { prompt: 'x', width: 48 }, 'width', 'greater_than_equal'],
    ['a negative side', { prompt: 'x', height: -64 }, 'height', 'greater_than_equal'],
    ['a side in words', { prompt: 'x', width: '1024' }, 'width', 'int_type'],
    ['a fractional side', { prompt: 'x', width: 1024.5 }, 'width', 'int_from_float'],
    ['a side that is no multiple of 16', { prompt: 'x', height: 1_000 }, 'height', 'multiple_of'],
    ['more than four megapixels', { prompt: 'x', width: 2_064, height: 2_048 }, 'width', 'value_error'],
    ['an unknown format', { prompt: 'x', output_format: 'gif' }, 'output_format', 'enum'],
    ['a seed in words', { prompt: 'x', seed: 'lucky' }, 'seed', 'int_type'],
    ['a tolerance above 5', { prompt: 'x', safety_tolerance: 6 }, 'safety_tolerance', 'less_than_equal'],
    [
      'a reference that is no image',
      { prompt: 'x', input_image_2: 'bm90IGFuIGltYWdl' },
      'input_image_2',
      'value_error',
    ],
    [
      'a reference by URL',
      { prompt: 'x', input_image: 'https://example.com/a.png' },
      'input_image',
      'value_error',
    ],
    ['a fifth reference', { prompt: 'x', input_image_5: 'AAAA' }, 'input_image_5', 'extra_forbidden'],
    ["another model's parameter", { prompt: 'x', steps: 4 }, 'steps', 'extra_forbidden'],
    ["OpenAI's n", { prompt: 'x', n: 2 }, 'n', 'extra_forbidden'],
    [
      'a webhook',
      { prompt: 'x', webhook_url: 'https://example.com' },
      'webhook_url',
      'sandbox_not_simulated',
    ],
    ['a misspelt directive', { prompt: 'x [sandbox:eror]' }, 'prompt', 'sandbox_directive'],
    ['a directive with a bad value', { prompt: 'x [sandbox:slow=fast]' }, 'prompt', 'sandbox_directive'],
  ])('answers 422 to %s, naming the parameter, and makes no task', async (_what, body, parameter, type) => {
    const answer = await driver.post(body);
    expect(answer.status).toBe(422);
    expect(answer.body.detail).toEqual([{ type, loc: ['body', parameter], msg: expect.any(String) }]);
    expect(driver.sandbox.control.counts().tasks).toBe(0);
    expect(driver.sandbox.control.countsOf('bfl_test').creditsUsed).toBe(0);
  });

  it('names every bad parameter at once', async () => {
    const answer = await driver.post({ prompt: 1, width: 'x', n: 1 });
    expect(answer.body.detail.map(({ loc }) => loc[1])).toEqual(['prompt', 'width', 'n']);
  });

  it.each([['{"prompt":'], ['[]'], ['"prompt"'], ['']])('answers 422 to the body %p', async (body) => {
    expect((await driver.post(body)).status).toBe(422);
  });

  it('answers 422 to another content type', async () => {
    expect(
      (await driver.post('prompt=x', { ...KEY, 'content-type': 'application/x-www-form-urlencoded' })).status,
    ).toBe(422);
  });

  it('ignores unknown parameters when it is set to be as lenient as the real service', async () => {
    await driver.restart({ refuseUnknownParameters: false });
    expect((await driver.post({ prompt: 'x', n: 2 })).status).toBe(200);
  });

  it('answers 403 without a key and to a key it does not accept, before it looks at the parameters', async () => {
    expect(await driver.post({ width: 'x' }, {})).toMatchObject({
      status: 403,
      body: { detail: 'Not authenticated' },
    });
    expect((await driver.post({ prompt: 'x' }, { 'x-key': 'bfl_invalid' })).status).toBe(403);
    const { polling_url: pollingUrl } = await driver.submit('cat');
    expect((await driver.get(pollingUrl, {})).status).toBe(403);
    await driver.restart({ apiKey: 'bfl_house' });
    expect((await driver.post({ prompt: 'x' })).status).toBe(403);
    driver.sandbox.control.acceptApiKey('bfl_test');
    expect((await driver.post({ prompt: 'x' })).status).toBe(200);
  });

  it('answers what FastAPI answers to unknown routes, ids and queries', async () => {
    expect(await driver.get(`${driver.sandbox.baseUrl}/v1/flux-9`)).toMatchObject({
      status: 404,
      body: { detail: 'Not Found' },
    });
    const polling = (await driver.submit('cat')).polling_url;
    expect(await driver.get(polling.replace(/id=.*/, 'id=nobody'))).toMatchObject({
      status: 200,
      body: { status: 'Task not found' },
    });
    expect((await driver.get(polling.replace(/\?id=.*/, ''))).status).toBe(422);
    await driver.restart({ taskNotFoundStatus: 404 });
    expect((await driver.get(`${driver.sandbox.baseUrl}/us1/v1/get_result?id=nobody`)).status).toBe(404);
  });
});

describe('credits and limits', () => {
  it('charges each key its own account and answers 402 when it is empty', async () => {
    driver.sandbox.control.setCredits('bfl_test', 4);
    await driver.submit('cat');
    await driver.submit('cat');
    expect(await driver.post({ prompt: 'cat' })).toMatchObject({
      status: 402,
      body: { detail: 'Insufficient credits' },
    });
    expect(await driver.get(`${driver.sandbox.baseUrl}/v1/credits`)).toMatchObject({ body: { credits: 1 } });
    expect(driver.sandbox.control.countsOf('bfl_test')).toEqual({
      submits: 3,
      creditsUsed: 3,
      creditsLeft: 1,
    });
    expect((await driver.post({ prompt: 'cat' }, { 'x-key': 'bfl_other' })).status).toBe(200);
  });

  it('answers 429 beyond 24 active tasks, and takes more once they are done', async () => {
    await driver.restart({ instant: false, latencyMs: 400 });
    const answers = await Promise.all(Array.from({ length: 30 }, () => driver.post({ prompt: 'cat' })));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(24);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.headers.get('retry-after')).toBe('1');
    expect(driver.sandbox.control.counts().tasks).toBe(24);
    driver.letPass(450);
    expect((await driver.post({ prompt: 'cat' })).status).toBe(200);
  });

  it('has no limit when it is set so', async () => {
    await driver.restart({ instant: false, latencyMs: 60_000, activeTasksMax: null });
    const answers = await Promise.all(Array.from({ length: 60 }, () => driver.post({ prompt: 'cat' })));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });
});
