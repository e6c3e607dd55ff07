import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import {
  startSandboxBlackForestLabs,
  type SandboxBlackForestLabs,
  type SandboxBlackForestLabsOptions,
} from '../../src/sandbox/black-forest-labs/server.js';

type Json = Readonly<Record<string, any>>;
type Submitted = { readonly id: string; readonly polling_url: string; readonly cost: number };

let sandbox: SandboxBlackForestLabs;

async function start(options: SandboxBlackForestLabsOptions = {}): Promise<void> {
  await sandbox.close();
  sandbox = await startSandboxBlackForestLabs({ instant: true, ...options });
}

beforeEach(async () => {
  sandbox = await startSandboxBlackForestLabs({ instant: true });
});

afterEach(() => sandbox.close());

const KEY = { 'x-key': 'bfl_test' };

async function post(body: unknown, headers: Record<string, string> = KEY) {
  const response = await fetch(`${sandbox.baseUrl}/v1/flux-2-klein-9b`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Json };
}

async function submit(prompt: string, more: Json = {}): Promise<Submitted> {
  const answer = await post({ prompt, width: 256, height: 128, output_format: 'png', ...more });
  expect(answer.status).toBe(200);
  return answer.body as Submitted;
}

async function get(url: string, headers: Record<string, string> = KEY) {
  const response = await fetch(url, { headers });
  return { status: response.status, body: (await response.json()) as Json };
}

async function resultOf(prompt: string, more: Json = {}): Promise<Json> {
  return (await get((await submit(prompt, more)).polling_url)).body;
}

describe('a generation', () => {
  it('goes from submit to pending to ready to a picture of the asked size', async () => {
    await start({ instant: false, latencyMs: 150 });
    const task = await submit('A red bicycle', { seed: 42 });
    expect(task).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      polling_url: expect.stringContaining(task.id),
      cost: 1.5,
      input_mp: 0,
      output_mp: 0.03,
    });
    expect(await get(task.polling_url)).toMatchObject({
      status: 200,
      body: { id: task.id, status: 'Pending', result: null },
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const ready = await get(task.polling_url);
    expect(ready.body).toMatchObject({
      status: 'Ready',
      result: { prompt: 'A red bicycle', seed: 42, duration: 0.15 },
    });
    const picture = await fetch(ready.body['result'].sample as string);
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
    const { result } = await resultOf(prompt, { width, height, output_format: format });
    const bytes = Buffer.from(await (await fetch(result.sample as string)).arrayBuffer());
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
      const { result } = await resultOf(prompt, { seed });
      return Buffer.from(await (await fetch(result.sample as string)).arrayBuffer());
    };
    const first = await draw('cat', 1);
    expect((await draw('cat', 1)).equals(first)).toBe(true);
    expect((await draw('cat', 2)).equals(first)).toBe(false);
    expect((await draw('dog', 1)).equals(first)).toBe(false);
  });

  it('defaults to a jpeg of one megapixel, and follows a reference image when there is one', async () => {
    const plain = await get((await post({ prompt: 'cat' })).body['polling_url'] as string);
    expect(plain.body['result'].sample).toMatch(/sample\.jpeg$/);
    const reference = await sharp({ create: { width: 330, height: 200, channels: 3, background: 'red' } })
      .png()
      .toBuffer();
    const edited = await post({
      prompt: 'cat',
      input_image: `data:image/png;base64,${reference.toString('base64')}`,
    });
    expect(edited.body).toMatchObject({ cost: 1.7, input_mp: 0.07 });
    const ready = await get(edited.body['polling_url'] as string);
    const bytes = await (await fetch(ready.body['result'].sample as string)).arrayBuffer();
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
    expect((await submit('cat', { width, height })).cost).toBe(cost);
  });

  it('is found only in the region that polling_url names, and the result only by its whole URL', async () => {
    const task = await submit('cat');
    const rebuilt = await get(`${sandbox.baseUrl}/v1/get_result?id=${task.id}`);
    expect(rebuilt.body).toMatchObject({ id: task.id, status: 'Task not found', result: null });
    const sample = (await get(task.polling_url)).body['result'].sample as string;
    const guessed = sample.replace(/[^/]+\/sample/, `${randomBytes(9).toString('base64url')}/sample`);
    expect((await fetch(guessed)).status).toBe(404);
    expect((await fetch(sample)).status).toBe(200);
    expect(sandbox.control.counts().keysSentToDelivery).toBe(0);
    await fetch(sample, { headers: KEY });
    expect(sandbox.control.counts().keysSentToDelivery).toBe(1);
  });

  it('lets a result expire', async () => {
    await start({ resultTtlMs: 50 });
    const { result } = await resultOf('cat');
    expect((await fetch(result.sample as string)).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect((await fetch(result.sample as string)).status).toBe(403);
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
    const answer = await post(body);
    expect(answer.status).toBe(422);
    expect(answer.body['detail']).toEqual([{ type, loc: ['body', parameter], msg: expect.any(String) }]);
    expect(sandbox.control.counts().tasks).toBe(0);
    expect(sandbox.control.countsOf('bfl_test').creditsUsed).toBe(0);
  });

  it('names every bad parameter at once', async () => {
    const answer = await post({ prompt: 1, width: 'x', n: 1 });
    expect((answer.body['detail'] as Json[]).map(({ loc }) => loc[1])).toEqual(['prompt', 'width', 'n']);
  });

  it.each([['{"prompt":'], ['[]'], ['"prompt"'], ['']])('answers 422 to the body %p', async (body) => {
    expect((await post(body)).status).toBe(422);
  });

  it('answers 422 to another content type', async () => {
    expect(
      (await post('prompt=x', { ...KEY, 'content-type': 'application/x-www-form-urlencoded' })).status,
    ).toBe(422);
  });

  it('ignores unknown parameters when it is told to be as lenient as the real service', async () => {
    await start({ refuseUnknownParameters: false });
    expect((await post({ prompt: 'x', n: 2 })).status).toBe(200);
  });

  it('answers 403 without a key and to a key it does not accept, before it looks at the body', async () => {
    expect(await post('{', {})).toMatchObject({ status: 403, body: { detail: 'Not authenticated' } });
    expect((await post({ prompt: 'x' }, { 'x-key': 'bfl_invalid' })).status).toBe(403);
    const { polling_url: pollingUrl } = await submit('cat');
    expect((await get(pollingUrl, {})).status).toBe(403);
    await start({ apiKey: 'bfl_house' });
    expect((await post({ prompt: 'x' })).status).toBe(403);
    sandbox.control.acceptApiKey('bfl_test');
    expect((await post({ prompt: 'x' })).status).toBe(200);
  });

  it('answers what FastAPI answers to unknown routes, ids and queries', async () => {
    expect(await get(`${sandbox.baseUrl}/v1/flux-9`)).toMatchObject({
      status: 404,
      body: { detail: 'Not Found' },
    });
    const polling = (await submit('cat')).polling_url;
    expect(await get(polling.replace(/id=.*/, 'id=nobody'))).toMatchObject({
      status: 200,
      body: { status: 'Task not found' },
    });
    expect((await get(polling.replace(/\?id=.*/, ''))).status).toBe(422);
    await start({ taskNotFoundStatus: 404 });
    expect((await get(`${sandbox.baseUrl}/us1/v1/get_result?id=nobody`)).status).toBe(404);
  });
});

describe('credits and limits', () => {
  it('charges each key its own account and answers 402 when it is empty', async () => {
    sandbox.control.setCredits('bfl_test', 4);
    await submit('cat');
    await submit('cat');
    expect(await post({ prompt: 'cat' })).toMatchObject({
      status: 402,
      body: { detail: 'Insufficient credits' },
    });
    expect(await get(`${sandbox.baseUrl}/v1/credits`)).toMatchObject({ body: { credits: 1 } });
    expect(sandbox.control.countsOf('bfl_test')).toEqual({ submits: 3, creditsUsed: 3, creditsLeft: 1 });
    expect((await post({ prompt: 'cat' }, { 'x-key': 'bfl_other' })).status).toBe(200);
  });

  it('answers 429 beyond 24 active tasks, and takes more once they are done', async () => {
    await start({ instant: false, latencyMs: 400 });
    const answers = await Promise.all(Array.from({ length: 30 }, () => post({ prompt: 'cat' })));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(24);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.headers.get('retry-after')).toBe('1');
    expect(sandbox.control.counts().tasks).toBe(24);
    await new Promise((resolve) => setTimeout(resolve, 450));
    expect((await post({ prompt: 'cat' })).status).toBe(200);
  });

  it('has no limit when it is told so', async () => {
    await start({ instant: false, latencyMs: 60_000, activeTasksMax: null });
    const answers = await Promise.all(Array.from({ length: 60 }, () => post({ prompt: 'cat' })));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });
});

describe('failures on demand, by a directive in the prompt', () => {
  it.each([
    ['moderated', 'Request Moderated'],
    ['content_moderated', 'Content Moderated'],
    ['error', 'Error'],
    ['not_found', 'Task not found'],
    ['hang', 'Pending'],
  ])('[sandbox:%s] ends as %s, without a result', async (directive, status) => {
    expect(await resultOf(`a cat [sandbox:${directive}]`)).toMatchObject({ status, result: null });
  });

  it('gives the reasons of a moderation', async () => {
    const { details } = await resultOf('[sandbox:moderated]');
    expect(details).toEqual({ 'Moderation Reasons': [expect.any(String)] });
  });

  it('[sandbox:slow=…] stays pending for that long', async () => {
    const task = await submit('cat [sandbox:slow=200]');
    expect((await get(task.polling_url)).body['status']).toBe('Pending');
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect((await get(task.polling_url)).body['status']).toBe('Ready');
  });

  it.each([400, 402, 403, 422, 429, 500, 503])(
    '[sandbox:submit=%d] is refused and costs nothing',
    async (status) => {
      expect((await post({ prompt: `cat [sandbox:submit=${status}]` })).status).toBe(status);
      expect(sandbox.control.counts()).toMatchObject({ submits: 1, tasks: 0 });
      expect(sandbox.control.countsOf('bfl_test').creditsUsed).toBe(0);
    },
  );

  it('[sandbox:submit=lost] makes and charges the task, and the client never learns of it', async () => {
    await expect(post({ prompt: 'cat [sandbox:submit=lost]' })).rejects.toThrow();
    expect(sandbox.control.counts().tasks).toBe(1);
    await expect(post({ prompt: 'cat [sandbox:submit=reset]' })).rejects.toThrow();
    expect(sandbox.control.counts().tasks).toBe(1);
  });

  it('[sandbox:submit=hang] never answers, and does not keep the stand-in from closing', async () => {
    const hanging = post({ prompt: 'cat [sandbox:submit=hang]' });
    const outcome = Promise.race([
      hanging.then(() => 'answered'),
      new Promise((resolve) => setTimeout(() => resolve('silent'), 200)),
    ]);
    expect(await outcome).toBe('silent');
    await sandbox.close();
    await expect(hanging).rejects.toThrow();
  });

  it('[sandbox:poll=503] troubles three polls and then shows the result', async () => {
    const { polling_url: pollingUrl } = await submit('cat [sandbox:poll=503]');
    const statuses: number[] = [];
    for (let polls = 0; polls < 4; polls += 1) statuses.push((await get(pollingUrl)).status);
    expect(statuses).toEqual([503, 503, 503, 200]);
  });

  it.each([
    ['result_404', 404],
    ['download=500', 500],
  ])('[sandbox:%s] answers the download with %d', async (directive, status) => {
    const { result } = await resultOf(`cat [sandbox:${directive}]`);
    expect((await fetch(result.sample as string)).status).toBe(status);
  });

  it('[sandbox:download=reset] breaks off in the middle of the picture', async () => {
    const { result } = await resultOf('cat [sandbox:download=reset]');
    const response = await fetch(result.sample as string);
    await expect(response.arrayBuffer()).rejects.toThrow();
  });

  it.each(['truncated', 'not_image'])('[sandbox:%s] delivers bytes that do not decode', async (directive) => {
    const { result } = await resultOf(`cat [sandbox:${directive}]`);
    const bytes = Buffer.from(await (await fetch(result.sample as string)).arrayBuffer());
    await expect(sharp(bytes, { failOn: 'truncated' }).raw().toBuffer()).rejects.toThrow();
  });

  it('[sandbox:wrong_size] delivers a picture that is not the asked one', async () => {
    const { result } = await resultOf('cat [sandbox:wrong_size]');
    const bytes = await (await fetch(result.sample as string)).arrayBuffer();
    expect(await sharp(Buffer.from(bytes)).metadata()).toMatchObject({ width: 272, height: 128 });
  });

  it('with every=3 hits one image of three', async () => {
    const statuses: string[] = [];
    for (let images = 0; images < 6; images += 1) {
      statuses.push((await resultOf('cat [sandbox:error, every=3]'))['status'] as string);
    }
    expect(statuses).toEqual(['Ready', 'Ready', 'Error', 'Ready', 'Ready', 'Error']);
  });

  it('combines directives', async () => {
    const { polling_url: pollingUrl } = await submit('[sandbox:slow=100] cat [sandbox:error]');
    expect((await get(pollingUrl)).body['status']).toBe('Pending');
    await new Promise((resolve) => setTimeout(resolve, 130));
    expect((await get(pollingUrl)).body['status']).toBe('Error');
  });
});

describe('failures on demand, from outside', () => {
  it('hits the next so many tasks, or all until cleared', async () => {
    sandbox.control.fail('error', 2);
    const statuses = [];
    for (let images = 0; images < 3; images += 1) statuses.push((await resultOf('cat'))['status']);
    expect(statuses).toEqual(['Error', 'Error', 'Ready']);
    sandbox.control.fail('submit=503');
    expect((await post({ prompt: 'cat' })).status).toBe(503);
    sandbox.control.clearFaults();
    expect((await post({ prompt: 'cat' })).status).toBe(200);
    expect(() => sandbox.control.fail('eror')).toThrow(RangeError);
  });

  it('offers the same over HTTP, and refuses controls it does not know', async () => {
    const control = async (method: string, path: string, body?: unknown) => {
      const response = await fetch(`${sandbox.baseUrl}/_sandbox/${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      return { status: response.status, body: (await response.json()) as Json };
    };
    expect((await control('POST', 'faults', { directive: 'moderated', times: 1 })).status).toBe(200);
    expect((await resultOf('cat'))['status']).toBe('Request Moderated');
    await control('POST', 'faults', { directive: 'error' });
    expect((await control('DELETE', 'faults')).status).toBe(200);
    expect((await resultOf('cat'))['status']).toBe('Ready');
    await control('POST', 'settings', { latency_ms: 60_000, active_tasks_max: 1 });
    expect((await resultOf('cat'))['status']).toBe('Pending');
    expect((await post({ prompt: 'cat' })).status).toBe(429);
    await control('POST', 'credits', { api_key: 'bfl_test', credits: 0 });
    expect((await post({ prompt: 'cat' })).status).toBe(402);
    expect((await control('GET', 'counts')).body).toMatchObject({ submits: 5, tasks: 3 });
    expect((await control('POST', 'faults', { directive: 'eror' })).status).toBe(400);
    expect((await control('POST', 'faults', { directiv: 'error' })).status).toBe(400);
    expect((await control('POST', 'settings', { latency_ms: -1 })).status).toBe(400);
  });
});
