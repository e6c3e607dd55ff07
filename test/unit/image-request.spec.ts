import { describe, expect, it } from '@jest/globals';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import {
  toFingerprint,
  parseImageRequest,
  toImageModel,
} from '../../src/gateway/images/calls/image-request.js';
import { ModelNotFoundError } from '../../src/money/pricing/pricing.errors.js';
import { Problem } from '../../src/platform/errors/problem.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const MINIMAL = { model: MODEL, prompt: 'a fox' };
const models = (await readCatalogFile()).catalog.models.flatMap(toImageModel);

function parse(body: unknown) {
  return parseImageRequest(body, {
    require: (id) => {
      const model = models.find((one) => one.id === id);
      if (model === undefined) throw new ModelNotFoundError(id);
      return model;
    },
  });
}

function refusal(body: unknown): { code: string; param: string | null; status: number; message: string } {
  try {
    parse(body);
  } catch (error) {
    if (error instanceof Problem) {
      const { code, param, status, message } = error;
      return { code, param, status, message };
    }
    throw error;
  }
  throw new Error(`accepted ${JSON.stringify(body)}`);
}

describe('an OpenAI images request', () => {
  it('takes the defaults that OpenAI documents, but for the format, which is the provider’s', () => {
    expect(parse(MINIMAL)).toMatchObject({
      images: 1,
      size: { width: 1024, height: 1024 },
      responseFormat: 'url',
      outputFormat: null,
      moderation: 'auto',
      endUser: null,
    });
  });

  it('treats null as absent for every optional parameter', () => {
    const names = [
      'n',
      'size',
      'response_format',
      'output_format',
      'output_compression',
      'quality',
      'background',
      'moderation',
      'style',
      'stream',
      'partial_images',
      'user',
    ];
    const body = { ...MINIMAL, ...Object.fromEntries(names.map((name) => [name, null])) };
    expect(toFingerprint(parse(body))).toBe(toFingerprint(parse(MINIMAL)));
  });

  it.each([
    ['quality', ['auto', 'standard'], ['hd', 'low', 'medium', 'high']],
    ['background', ['auto', 'opaque'], ['transparent']],
    ['style', ['vivid'], ['natural']],
    ['stream', [false], [true]],
    ['partial_images', [0], [1, 3]],
    ['output_compression', [100], [0, 99]],
  ])('answers %s deliberately: accepts what asks for nothing, refuses the rest by name', (name, yes, no) => {
    for (const value of yes) expect(() => parse({ ...MINIMAL, [name]: value })).not.toThrow();
    for (const value of no) {
      expect(refusal({ ...MINIMAL, [name]: value })).toMatchObject({
        status: 400,
        code: 'unsupported_parameter',
        param: name,
      });
    }
    for (const value of ['nonsense', {}, [], -1, 1e9]) {
      expect(refusal({ ...MINIMAL, [name]: value })).toMatchObject({ code: 'invalid_request', param: name });
    }
  });

  it.each(['colour', 'image', 'mask', 'seed', 'constructor', 'toString', '__proto__x'])(
    'refuses the unknown parameter %s by name',
    (name) => {
      const body = JSON.parse(`{"model":"${MODEL}","prompt":"a","${name}":1}`) as unknown;
      expect(refusal(body)).toMatchObject({ status: 400, code: 'invalid_request', param: name });
    },
  );

  it('does not send a whole unknown name back', () => {
    expect(refusal({ ...MINIMAL, ['x'.repeat(100_000)]: 1 }).message.length).toBeLessThan(300);
  });

  it.each([0, -1, 1.5, '2', true, [], Number.NaN, 2 ** 60])('refuses n = %p', (n) => {
    expect(refusal({ ...MINIMAL, n })).toMatchObject({ status: 400, code: 'invalid_request', param: 'n' });
  });

  it('takes 1 to 10 images and says too_many_images beyond', () => {
    for (const n of [1, 10]) expect(parse({ ...MINIMAL, n }).images).toBe(n);
    expect(refusal({ ...MINIMAL, n: 11 })).toMatchObject({ code: 'too_many_images', param: 'n' });
  });

  it.each(['64x64', '1024x1024', '2048x2048', '65536x64', '64x65536', '4096x1024', '1040x16'])(
    'decides about the size %s by the rule of the model',
    (size) => {
      const [width = 0, height = 0] = size.split('x').map(Number);
      const isAllowed = width >= 64 && height >= 64 && width * height <= 4_194_304;
      if (isAllowed) expect(parse({ ...MINIMAL, size }).size).toEqual({ width, height });
      else expect(refusal({ ...MINIMAL, size })).toMatchObject({ code: 'invalid_size', param: 'size' });
    },
  );

  it.each([
    '',
    '1024',
    '1024x',
    'x1024',
    '1024X1024',
    '01024x1024',
    '1000x1000',
    '48x64',
    '-64x64',
    '64.0x64',
    '2064x2064',
    ' 64x64',
    '64x64\n',
    '999999x64',
    '1e3x64',
    '64x64x64',
  ])('refuses the size %p', (size) => {
    expect(refusal({ ...MINIMAL, size })).toMatchObject({ status: 400, code: 'invalid_size', param: 'size' });
  });

  it.each([[undefined], [null], [''], [' \n\t'], [5], [['a']], ['x'.repeat(32_001)]])(
    'refuses the prompt %p',
    (prompt) => {
      expect(refusal({ model: MODEL, prompt })).toMatchObject({ status: 400, param: 'prompt' });
    },
  );

  it('takes a prompt of 32,000 characters as it is', () => {
    const prompt = ` ${'é'.repeat(31_998)} `;
    expect(parse({ model: MODEL, prompt }).prompt).toBe(prompt);
  });

  it('says 404 for an unknown model and 400 for none', () => {
    expect(refusal({ ...MINIMAL, model: 'dall-e-2' })).toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
    for (const model of [undefined, null, '']) {
      expect(refusal({ ...MINIMAL, model })).toMatchObject({ status: 400, param: 'model' });
    }
    expect(refusal({ ...MINIMAL, model: 7 })).toMatchObject({ status: 400, param: 'model' });
  });

  it.each([[null], [undefined], ['text'], [[MINIMAL]], [7]])('refuses the body %p', (body) => {
    expect(refusal(body)).toMatchObject({ status: 400, code: 'invalid_request' });
  });

  it('refuses a user that the database could not keep', () => {
    expect(refusal({ ...MINIMAL, user: 'a\0b' })).toMatchObject({ param: 'user' });
    expect(refusal({ ...MINIMAL, user: 'x'.repeat(513) })).toMatchObject({ param: 'user' });
    expect(parse({ ...MINIMAL, user: 'u'.repeat(512) }).endUser).toHaveLength(512);
  });

  it('says of every refusal that nothing was charged', () => {
    for (const body of [
      { ...MINIMAL, n: 0 },
      { ...MINIMAL, x: 1 },
      { ...MINIMAL, size: '1x1' },
      { prompt: 'a' },
    ]) {
      expect(refusal(body).message).toMatch(/Nothing was charged\./);
    }
  });

  it('differs for any two different requests, and for no two spellings of one', () => {
    const variants = [
      MINIMAL,
      { ...MINIMAL, prompt: 'a fox ' },
      { ...MINIMAL, n: 2 },
      { ...MINIMAL, size: '1024x1040' },
      { ...MINIMAL, size: '1040x1024' },
      { ...MINIMAL, response_format: 'b64_json' },
      { ...MINIMAL, output_format: 'webp' },
      { ...MINIMAL, moderation: 'low' },
      { ...MINIMAL, user: 'u' },
    ].map((body) => toFingerprint(parse(body)));
    expect(new Set(variants).size).toBe(variants.length);
    expect(toFingerprint(parse({ ...MINIMAL, n: 1, size: 'auto', quality: 'auto' }))).toBe(variants[0]);
  });
});
