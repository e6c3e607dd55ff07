import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import OpenAI, { toFile } from 'openai';
import sharp from 'sharp';
import { EDIT_BODY_BYTES_MAX } from '../../src/gateway/images/edits/edit-body.js';
import {
  BLUE,
  claiming,
  form,
  FORM_TYPE,
  GREEN,
  GREY,
  image,
  plain,
  RED,
} from '../support/images/edit-bodies.js';
import {
  dataUrl,
  EditSender,
  expectOpenAiError,
  expectReferences,
  FIELDS,
  picture,
  pictureOf,
} from '../support/images/edits.js';
import { balancesOf, expectReceiptsToAgree, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

let service: TestApp;
let customer: TestCustomer;
let edits: EditSender;

beforeAll(async () => {
  service = await startTestApp({
    blackForestLabs: true,
    settings: { rateLimit: false, webhookLoopback: true },
  });
  customer = await service.createCustomer({ grantMicros: 4_000_000n });
  edits = new EditSender(service.url, customer.apiKey);
});
afterAll(async () => {
  await expectReceiptsToAgree(service, customer.accountId);
  await expectBooksToBalance(service.dataSource);
  await service.close();
});

const sdk = (apiKey = customer.apiKey) => new OpenAI({ apiKey, baseURL: `${service.url}/v1` });
const file = (index: number) => toFile(picture(index), `${index}.png`, { type: 'image/png' });
const submits = () => service.blackForestLabs?.control.counts().submits ?? 0;

describe('the unmodified OpenAI SDK', () => {
  it('edits one image, by URL', async () => {
    const edited = await sdk().images.edit({ model: MODEL, prompt: 'a fox', image: await file(0), n: 2 });
    expect(edited.data).toHaveLength(2);
    for (const { url } of edited.data ?? []) await expectReferences(await pictureOf(url), [RED]);
  });

  it('edits three images, in their order, inline', async () => {
    const edited = await sdk().images.edit({
      model: MODEL,
      prompt: 'a fox',
      image: [await file(2), await file(0), await file(1)],
      size: '128x64',
      response_format: 'b64_json',
      user: 'somebody',
    });
    const made = Buffer.from(edited.data?.[0]?.b64_json ?? '', 'base64');
    expect(await sharp(made).metadata()).toMatchObject({ width: 128, height: 64, format: 'jpeg' });
    await expectReferences(made, [BLUE, RED, GREEN]);
  });

  it('sees the right class for what is refused, and is charged for none of it', async () => {
    const before = await balancesOf(customer);
    const poor = await service.createCustomer({ grantMicros: 10_000n });
    const five = await Promise.all([0, 1, 2, 3, 0].map(file));
    const text = await toFile(Buffer.from('text'), 'text.png', { type: 'image/png' });
    const ask = { model: MODEL, prompt: 'a fox', image: await file(0) };
    const cases: readonly [OpenAI, object, unknown, string, string | null][] = [
      [sdk(), { image: five }, OpenAI.BadRequestError, 'invalid_request', 'image'],
      [sdk(), { image: text }, OpenAI.BadRequestError, 'invalid_image', 'image'],
      [sdk(), { image: [await file(0), text] }, OpenAI.BadRequestError, 'invalid_image', 'image[1]'],
      [sdk(), { mask: await file(1) }, OpenAI.BadRequestError, 'unsupported_parameter', 'mask'],
      [sdk(), { input_fidelity: 'high' }, OpenAI.BadRequestError, 'unsupported_parameter', 'input_fidelity'],
      [sdk(), { stream: true }, OpenAI.BadRequestError, 'unsupported_parameter', 'stream'],
      [sdk(), { size: '100x100' }, OpenAI.BadRequestError, 'invalid_size', 'size'],
      [sdk(), { n: 11 }, OpenAI.BadRequestError, 'too_many_images', 'n'],
      [
        sdk(),
        { prompt: 'x [sandbox:moderated]' },
        OpenAI.BadRequestError,
        'content_policy_violation',
        'prompt',
      ],
      [sdk(), { model: 'dall-e-2' }, OpenAI.NotFoundError, 'model_not_found', 'model'],
      [sdk('sk-cof-wrong'), {}, OpenAI.AuthenticationError, 'invalid_api_key', null],
      [sdk(poor.apiKey), {}, OpenAI.APIError, 'insufficient_credits', null],
    ];
    for (const [client, body, errorClass, code, param] of cases) {
      const failed: unknown = await client.images
        .edit({ ...ask, ...body } as OpenAI.ImageEditParamsNonStreaming)
        .then(
          () => null,
          (error: unknown) => error,
        );
      expect(failed).toBeInstanceOf(errorClass);
      expect(failed).toMatchObject({ code, param });
    }
    expect(await balancesOf(customer)).toEqual(before);
    await expectReceiptsToAgree(service, poor.accountId);
  });
});

describe('a raw form', () => {
  it.each([
    ['image', 'image'],
    ['image[]', 'image[]'],
    ['image', 'image[]'],
  ])('with files called %s and %s means two references', async (first, second) => {
    const parts = [
      image(picture(1), first),
      ...FIELDS,
      image(picture(3), second),
      { name: 'n', content: '1' },
    ];
    const answer = (await edits.send(form(parts))).expect(200);
    await expectReferences(await pictureOf(answer.body.data[0].url), [GREEN, GREY]);
  });

  it('has the shape of its first image when it names no size', async () => {
    const wide = await plain(RED, 300, 100).png().toBuffer();
    const answer = (await edits.form([image(wide), image(picture(1))])).expect(200);
    const { width, height } = await sharp(await pictureOf(answer.body.data[0].url)).metadata();
    expect({ width, height }).toEqual({ width: 288, height: 96 });
  });

  it('is refused in OpenAI’s shape for whatever is wrong with it, before anything is charged or submitted', async () => {
    const before = { balances: await balancesOf(customer), submits: submits() };
    const whole = form([...FIELDS, image(picture(0))]);
    const bomb = await claiming(60_000, 60_000);
    const cases: readonly [string, Promise<TestAnswer>, number, string, string | null][] = [
      ['no image', edits.form([]), 400, 'invalid_request', 'image'],
      [
        'five images',
        edits.form(Array.from({ length: 5 }, () => image(picture(0)))),
        400,
        'invalid_request',
        'image',
      ],
      ['an empty image', edits.form([image(Buffer.alloc(0))]), 400, 'invalid_image', 'image'],
      ['a bomb', edits.form([image(picture(0)), image(bomb)]), 400, 'invalid_image', 'image[1]'],
      ['text as an image', edits.form([image(Buffer.from('text'))]), 400, 'invalid_image', 'image'],
      ['half an image', edits.form([image(picture(0).subarray(0, 90))]), 400, 'invalid_image', 'image'],
      [
        'a scalar twice',
        edits.form([image(picture(0)), { name: 'prompt', content: 'b' }]),
        400,
        'invalid_request',
        'prompt',
      ],
      [
        'an unknown field',
        edits.form([image(picture(0)), { name: 'colour', content: 'b' }]),
        400,
        'invalid_request',
        'colour',
      ],
      [
        'an unknown file',
        edits.form([image(picture(0)), image(picture(0), 'images')]),
        400,
        'invalid_request',
        'images',
      ],
      ['a truncated body', edits.send(whole.subarray(0, whole.length - 30)), 400, 'malformed_body', null],
      [
        'another boundary',
        edits.send(whole, { type: 'multipart/form-data; boundary=b' }),
        400,
        'malformed_body',
        null,
      ],
      ['no boundary', edits.send(whole, { type: 'multipart/form-data' }), 400, 'malformed_body', null],
      ['garbage', edits.send(randomBytes(10_000)), 400, 'malformed_body', null],
      ['an empty body', edits.send(''), 400, 'malformed_body', null],
      ['a wrong type', edits.send(whole, { type: 'text/plain' }), 415, 'unsupported_media_type', null],
      ['an impossible type', edits.send(whole, { type: 'not a type' }), 415, 'unsupported_media_type', null],
      [
        'our own inner type',
        edits.send(whole, { type: 'application/x-coffer-unread' }),
        415,
        'unsupported_media_type',
        null,
      ],
      ['a form as JSON', edits.send(whole, { type: 'application/json' }), 400, 'malformed_body', null],
      ['far too much', edits.send(Buffer.alloc(EDIT_BODY_BYTES_MAX + 1)), 413, 'payload_too_large', null],
    ];
    for (const [what, sending, status, code, param] of cases) {
      const error = expectOpenAiError(await sending, status);
      expect({ what, code: error.code, param: error.param }).toEqual({ what, code, param });
    }
    expect({ balances: await balancesOf(customer), submits: submits() }).toEqual(before);
  });

  it('that ends in the middle leaves nothing, and the service answers on', async () => {
    const before = await balancesOf(customer);
    const whole = form([...FIELDS, image(picture(0))]);
    const { port, hostname } = new URL(service.url);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(
          `POST /v1/images/edits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${customer.apiKey}\r\n` +
            `content-type: ${FORM_TYPE}\r\ncontent-length: ${whole.length}\r\n\r\n`,
        );
        socket.write(whole.subarray(0, 300));
      });
      service.app.getHttpServer().once('request', () => socket.destroy());
      socket.on('close', () => resolve());
    });
    (await edits.form([image(picture(0))])).expect(200);
    expect((await balancesOf(customer)).available).toBe(before.available - PRICE_MICROS);
  });
});

describe('a JSON edit', () => {
  it('takes its images as data URLs', async () => {
    const images = [{ image_url: dataUrl(picture(3)) }, { image_url: dataUrl(picture(2)) }];
    const answer = (await edits.json({ images, n: 1, mask: null, stream: null })).expect(200);
    expect(answer.headers.get('x-charged-micros')).toBe('40000');
    await expectReferences(await pictureOf(answer.body.data[0].url), [GREY, BLUE]);
  });

  it('takes them from addresses as well, and a broken one is named by its position', async () => {
    const generated = await sdk().images.edit({ model: MODEL, prompt: 'a fox', image: await file(1) });
    const url = generated.data?.[0]?.url ?? '';
    const images = [{ image_url: dataUrl(picture(0)) }, { image_url: url }];
    const answer = (await edits.json({ images })).expect(200);
    await expectReferences(await pictureOf(answer.body.data[0].url), [RED]);
    const missing = [...images, { image_url: `${service.url}/v1/media/none.png` }];
    const error = expectOpenAiError(await edits.json({ images: missing }), 400);
    expect(error).toMatchObject({ code: 'invalid_image', param: 'images[2].image_url' });
    const noImage = [{ image_url: `${service.url}/health/live` }];
    expect(expectOpenAiError(await edits.json({ images: noImage }), 400)).toMatchObject({
      code: 'invalid_image',
    });
  });

  it('takes more than the megabyte of other routes, and other routes still do not', async () => {
    const large = await plain(RED, 1_024, 1_024).png({ compressionLevel: 0 }).toBuffer();
    expect(large.length).toBeGreaterThan(3_000_000);
    (await edits.json({ images: [{ image_url: dataUrl(large) }], size: '64x64' })).expect(200);
    const elsewhere = await customer.client.post('/v1/images/generations', {
      model: MODEL,
      prompt: 'a'.repeat(2_000_000),
    });
    expectOpenAiError(elsewhere, 413);
    const unread = { 'content-type': 'application/x-coffer-unread' };
    expectOpenAiError(await customer.client.post('/v1/images/generations', '{}', unread), 415);
  });

  it.each([
    ['no images', {}, 'invalid_request', 'images'],
    [
      'five images',
      { images: Array(5).fill({ image_url: dataUrl(picture(0)) }) },
      'invalid_request',
      'images',
    ],
    ['a file id', { images: [{ file_id: 'file-abc' }] }, 'unsupported_parameter', 'images[0].file_id'],
    ['a mask', { images: [], mask: { image_url: 'data:,' } }, 'unsupported_parameter', 'mask'],
    ['a number as text', { images: [], n: '2' }, 'invalid_request', 'n'],
    ['OpenAI’s name of forms', { image: ['data:,'] }, 'invalid_request', 'image'],
    [
      'no image',
      { images: [{ image_url: 'data:image/png;base64,AAAA' }] },
      'invalid_image',
      'images[0].image_url',
    ],
  ])('with %s is refused by name', async (_what, body, code, param) => {
    expect(expectOpenAiError(await edits.json(body), 400)).toMatchObject({ code, param });
  });
});

describe('errors of the framework on the images routes', () => {
  it.each([
    ['GET', '/v1/images/edits', 405],
    ['DELETE', '/v1/images/generations', 405],
    ['POST', '/v1/images/variations', 404],
    ['POST', '/v1/images/edits/x', 404],
  ])('%s %s is answered in OpenAI’s shape', async (method, path, status) => {
    expectOpenAiError(await customer.client.send(method, path), status);
  });

  it('a stranger is refused before a byte of a large body is read', async () => {
    const { port, hostname } = new URL(service.url);
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        // The body is announced and never sent, so a service that read it first would wait for it.
        socket.write(
          'POST /v1/images/edits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-cof-wrong\r\n' +
            `content-type: application/json\r\ncontent-length: ${EDIT_BODY_BYTES_MAX}\r\n\r\n{`,
        );
      });
      socket.on('data', (chunk) => {
        resolve(chunk.toString());
        socket.destroy();
      });
    });
    expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  });
});
