import { hash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { completeEdit, parseEdit } from '../../src/gateway/images/edits/edit-request.js';
import { ImageCheck } from '../../src/gateway/images/edits/arriving-image.js';
import { readReference } from '../../src/gateway/images/edits/reference.js';
import {
  toFingerprint,
  parseImageRequest,
  toImageModel,
  type ImageModel,
} from '../../src/gateway/images/calls/image-request.js';
import { conversions } from '../../src/gateway/images/media/conversions.js';
import { toSubmitBody } from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import { Problem } from '../../src/platform/errors/problem.js';
import { BLUE, claiming, GREEN, noise, plain, RED } from '../support/images/edit-bodies.js';
import { eventually } from '../support/processes.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const CONTEXT = {
  slotRequest: { owner: 'acct_a', call: 'req_a' },
  signal: new AbortController().signal,
};
/** How many codes of each length the example table of the JPEG standard has for luminance (ITU-T T.81, K.3), as every encoder knows it. */
const STANDARD_LUMINANCE_TABLE = Buffer.from([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
const MINIMAL = { model: MODEL, prompt: 'a fox' };
const fromCatalog = (await readCatalogFile()).catalog.models.flatMap(toImageModel);
const textOnly: ImageModel = { ...(fromCatalog[0] as ImageModel), id: 'maker/text-only', referencesMax: 0 };
const models = [...fromCatalog, textOnly];
const lookup = {
  list: () => models,
  require: (id: string) => models.find((model) => model.id === id) as ImageModel,
};
const red = await plain(RED).png().toBuffer();
const green = await plain(GREEN).png().toBuffer();

function draft(members: object, count = 1, imagesName: 'image' | 'images' = 'image') {
  const images = Array(count).fill({ param: 'image', source: { bytes: red } });
  return parseEdit({ members: { ...members }, images, imagesName }, lookup);
}

async function edit(members: object, ...sent: Buffer[]) {
  const references = await Promise.all(
    sent.map((bytes) => readReference(bytes, 'image', sent.length, CONTEXT)),
  );
  return completeEdit(draft(members, sent.length), references);
}

type Refusal = { readonly code: string; readonly param: string | null; readonly message: string };

async function refusal(attempt: () => unknown): Promise<Refusal> {
  try {
    await attempt();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    expect(error.message).toContain('Nothing was charged.');
    return { code: error.code, param: error.param, message: error.message };
  }
  throw new Error('it was accepted');
}

describe('an edit', () => {
  it('takes the parameters of a generation, and OpenAI’s defaults', async () => {
    const request = await edit(MINIMAL, red);
    expect(request).toMatchObject({
      operation: 'edit',
      images: 1,
      responseFormat: 'url',
      outputFormat: null,
      size: { width: 64, height: 64 },
    });
  });

  it.each([
    ['quality', ['auto', 'standard'], ['hd', 'low', 'medium', 'high']],
    ['background', ['auto', 'opaque'], ['transparent']],
    ['input_fidelity', ['low'], ['high']],
    ['mask', [], [{ file: true }, { image_url: 'data:,' }, 'text', 1]],
    ['stream', [false], [true]],
    ['partial_images', [0], [1, 3]],
    ['output_compression', [100], [0, 99]],
  ])(
    'answers %s deliberately: accepts what asks for nothing, refuses the rest by name',
    async (name, yes, no) => {
      for (const value of [...yes, null]) expect(() => draft({ ...MINIMAL, [name]: value })).not.toThrow();
      for (const value of no) {
        const refused = await refusal(() => draft({ ...MINIMAL, [name]: value }));
        expect(refused).toMatchObject({ code: 'unsupported_parameter', param: name });
      }
    },
  );

  it.each(['style', 'image', 'images', 'seed', 'constructor', 'n[]'])(
    'refuses the parameter %s, which no edit has, by name',
    async (name) => {
      expect(await refusal(() => draft({ ...MINIMAL, [name]: 1 }))).toMatchObject({
        code: 'invalid_request',
        param: name,
      });
    },
  );

  it('needs an image, and takes as many as the model does', async () => {
    for (const name of ['image', 'images'] as const) {
      for (const count of [0, 5, 16]) {
        const refused = await refusal(() => draft(MINIMAL, count, name));
        expect(refused).toMatchObject({ code: 'invalid_request', param: name });
      }
      expect(() => draft(MINIMAL, 4, name)).not.toThrow();
    }
  });

  it('of a model that makes images from text only is refused, and says which models edit', async () => {
    const refused = await refusal(() => draft({ ...MINIMAL, model: textOnly.id }));
    expect(refused).toMatchObject({ code: 'unsupported_parameter', param: 'model' });
    expect(refused.message).toContain(MODEL);
  });

  it('has the size that was asked for, or else that of its first image', async () => {
    const wide = await plain(RED, 333, 100).png().toBuffer();
    expect((await edit(MINIMAL, wide, green)).size).toEqual({ width: 320, height: 96 });
    expect((await edit({ ...MINIMAL, size: 'auto' }, wide)).size).toEqual({ width: 320, height: 96 });
    expect((await edit({ ...MINIMAL, size: '256x64' }, wide)).size).toEqual({ width: 256, height: 64 });
    expect(await refusal(() => draft({ ...MINIMAL, size: '333x100' }))).toMatchObject({
      code: 'invalid_size',
    });
  });
});

describe('the fingerprint', () => {
  it('of a generation is what it was before there were edits: stored idempotency keys outlive an upgrade', () => {
    const request = parseImageRequest({ ...MINIMAL, n: 2, user: 'u' }, lookup);
    const before = hash(
      'sha256',
      JSON.stringify([MODEL, 'a fox', 2, 1024, 1024, 'url', 'png', 'auto', 'u']),
      'hex',
    );
    expect(toFingerprint(request)).toBe(before);
  });

  it('of edits differs by their images and their order, and from that of a generation', async () => {
    const size = { ...MINIMAL, size: '64x64' };
    const requests = [
      parseImageRequest(size, lookup),
      await edit(size, red),
      await edit(size, green),
      await edit(size, red, green),
      await edit(size, green, red),
      await edit(size, red, red),
    ];
    expect(new Set(requests.map(toFingerprint)).size).toBe(requests.length);
    expect(toFingerprint(await edit(size, red))).toBe(toFingerprint(requests[1] as (typeof requests)[0]));
  });
});

describe('a reference image', () => {
  const read = (bytes: Buffer, count = 1) => {
    const check = new ImageCheck('image[2]');
    if (bytes.length > 0) check.take(bytes);
    check.end();
    return readReference(bytes, 'image[2]', count, CONTEXT);
  };

  it.each(['png', 'jpeg', 'webp'] as const)('goes on as it is, to the byte, as %s', async (format) => {
    const sent = await plain(RED, 200, 100).toFormat(format).toBuffer();
    const reference = await read(sent);
    expect(reference.bytes.equals(sent)).toBe(true);
    expect(reference).toMatchObject({ contentType: `image/${format}`, width: 200, height: 100 });
    expect(reference.sentSha256).toBe(hash('sha256', sent, 'hex'));
  });

  it('is encoded while it is decoded, with the tables of the standard: no whole picture is held for better ones', async () => {
    const { bytes } = await read(await plain(RED, 3_000, 2_000).png().toBuffer());
    expect(bytes.includes(STANDARD_LUMINANCE_TABLE)).toBe(true);
  });

  it.each([
    ['progressive JPEG', (picture: Sharp) => picture.jpeg({ progressive: true })],
    ['interlaced PNG', (picture: Sharp) => picture.ensureAlpha().png({ progressive: true })],
    ['WebP', (picture: Sharp) => picture.ensureAlpha(0.5).webp({ effort: 0, lossless: true })],
  ])('of which a decoder holds all, a large %s, is decoded alone', async (_kind, encode) => {
    let end = (): void => undefined;
    const other = { ...CONTEXT, slotRequest: { owner: 'acct_other', call: 'gen_other' } };
    const running = conversions.run(other, () => new Promise<void>((resolve) => (end = resolve)));
    const picture = () => plain(RED, 3_400, 3_400);
    // Of as many pixels, of which a decoder holds few rows at a time.
    await read(await picture().jpeg().toBuffer());
    const reading = read(await encode(picture()).toBuffer());
    await eventually('it waits', () => conversions.countWaiting(CONTEXT.slotRequest.owner) === 1);
    end();
    await running;
    expect((await reading).contentType).toBe('image/jpeg');
  });

  it('larger than what the model sees is scaled, so that no one pays for pixels that it does not see', async () => {
    const sent = await plain(RED, 3_000, 2_000).jpeg().toBuffer();
    const one = await read(sent, 1);
    expect(one.width * one.height).toBeLessThanOrEqual(2_024 ** 2);
    expect(one.width * one.height).toBeGreaterThan(0.99 * 2_024 ** 2);
    const several = await read(sent, 3);
    expect(several.width * several.height).toBeLessThanOrEqual(1_024 ** 2);
    expect(several.displayed).toEqual({ width: 3_000, height: 2_000 });
    const { width, height, format } = await sharp(several.bytes).metadata();
    expect({ width, height, format }).toEqual({
      width: several.width,
      height: several.height,
      format: 'jpeg',
    });
  });

  it('of a telephone held upright is upright', async () => {
    // The left half is red; turned as the tag says, that is the upper one.
    const half = await plain(RED, 100, 100).png().toBuffer();
    const sent = await plain(BLUE, 200, 100)
      .composite([{ input: half, left: 0, top: 0 }])
      .jpeg()
      .withMetadata({ orientation: 6 })
      .toBuffer();
    const reference = await read(sent);
    expect(reference).toMatchObject({ width: 100, height: 200, displayed: { width: 100, height: 200 } });
    const { data } = await sharp(reference.bytes).raw().toBuffer({ resolveWithObject: true });
    expect(data[(20 * 100 + 50) * 3]).toBeGreaterThan(180);
    expect(data[(180 * 100 + 50) * 3 + 2]).toBeGreaterThan(180);
  });

  it('that hardly compresses is sent as JPEG: calls wait for a slot, and all of them hold their images', async () => {
    const sent = await noise(1_400, 1_400).png({ compressionLevel: 0 }).toBuffer();
    expect(sent.length).toBeGreaterThan(4 * 1_048_576);
    const reference = await read(sent);
    expect(reference).toMatchObject({ contentType: 'image/jpeg', width: 1_400, height: 1_400 });
    expect(reference.bytes.length).toBeLessThan(0.85 * sent.length);
  });

  it.each([
    ['no bytes', () => Buffer.alloc(0), 'empty'],
    ['text called .png', () => Buffer.from('hello, I am an image'), 'not a PNG'],
    ['a GIF', () => plain(RED).gif().toBuffer(), 'not a PNG'],
    [
      'an SVG',
      () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>'),
      'not a PNG',
    ],
    ['half a PNG', () => red.subarray(0, red.length / 2), 'damaged'],
    ['a PNG without its end', () => red.subarray(0, red.length - 12), 'damaged'],
    ['the first bytes of a JPEG', () => Buffer.from('ffd8ffe000104a4649460001', 'hex'), 'damaged'],
    ['an animation', () => animation(), 'animation'],
    ['a claim that its bytes do not keep', () => claiming(4_000, 4_000), 'damaged'],
    ['26 megapixels', () => plain(RED, 5_200, 5_000).png().toBuffer(), 'more than 25000000 pixels'],
    [
      '16 bits a channel and 17 megapixels',
      () => plain(RED, 4_200, 4_000).toColourspace('rgb16').png().toBuffer(),
      '100800000 bytes',
    ],
    ['too small a side', () => plain(RED, 200, 63).png().toBuffer(), 'side of less'],
    ['too long a side', () => plain(RED, 1_000, 64).png().toBuffer(), '8 times'],
  ])('of %s is refused, and says which one it is', async (_what, make, reason) => {
    const bytes = await Promise.resolve(make());
    const refused = await refusal(() => read(bytes));
    expect(refused).toMatchObject({ code: 'invalid_image', param: 'image[2]' });
    expect(refused.message).toMatch(new RegExp(reason));
  });
});

describe('the request to Black Forest Labs', () => {
  it('names the references in the order of the customer, as plain base64', async () => {
    const { references, ...request } = await edit({ ...MINIMAL, size: '64x64' }, red, green, red);
    const asked = { ...request, ...request.size, upstreamModel: 'flux-2-klein-9b', references };
    const body = JSON.parse(toSubmitBody(asked)) as Record<string, unknown>;
    const [first, second] = [red, green].map((bytes) => bytes.toString('base64'));
    expect(body).toMatchObject({ input_image: first, input_image_2: second, input_image_3: first });
    expect(body).not.toHaveProperty('input_image_4');
    expect(JSON.parse(toSubmitBody({ ...asked, references: [] }))).not.toHaveProperty('input_image');
  });
});

function animation(): Promise<Buffer> {
  return sharp([red, green], { join: { animated: true } })
    .webp({ delay: [100, 100], loop: 0 })
    .toBuffer();
}
