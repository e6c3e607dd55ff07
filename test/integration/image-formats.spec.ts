import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { ImageMakerService } from '../../src/gateway/images/calls/image-maker.service.js';
import { GenerationReaderService } from '../../src/gateway/images/calls/records/generation-reader.service.js';
import { RunningGenerationsService } from '../../src/gateway/images/calls/running-generations.service.js';
import { balancesOf, expectReceiptsToAgree, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startProviderStage, type ProviderStage } from '../support/images/provider-stage.js';
import { drawSample } from '../support/images/sample-images.js';
import { picture, type Size } from '../support/images/scripted-upstream.js';
import type { TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const BFL = 'black_forest_labs';
const CLOUDFLARE = 'cloudflare_workers_ai';
const COMPATIBLE = 'openai_compatible';
const PROVIDERS = [BFL, CLOUDFLARE, COMPATIBLE] as const;
const FORMATS = ['png', 'jpeg', 'webp'] as const;
type Format = (typeof FORMATS)[number];

const CREDIT_MICROS = 1_000_000n;

let stage: ProviderStage;
let customer: TestCustomer;
beforeAll(async () => {
  stage = await startProviderStage([...PROVIDERS.map((provider) => [provider]), [BFL, CLOUDFLARE]]);
  customer = await stage.service.createCustomer({ grantMicros: 1_000_000_000n });
});
afterEach(async () => {
  stage.upstream.reset();
  await expectReceiptsToAgree(stage.service, customer.accountId);
});
afterAll(async () => {
  await expectBooksToBalance(stage.service.dataSource).finally(() => stage.close());
});

/** As it was sent: our answers are what `JSON.stringify` writes. */
const textOf = ({ body }: TestAnswer): string => JSON.stringify(body);

async function receiptOf({ headers }: TestAnswer): Promise<Record<string, unknown>> {
  await stage.service.app.get(RunningGenerationsService).recorded(customer.accountId);
  const id = headers.get('x-generation-id') ?? '';
  return (await customer.client.get(`/v1/generations/${id}`)).expect(200).body as Record<string, unknown>;
}

async function expectDelivered(answer: TestAnswer, format: Format, image?: Buffer): Promise<void> {
  expect(answer.expect(200).body.output_format).toBe(format);
  const [{ url }] = answer.body.data as [{ url: string }];
  expect(new URL(url).pathname).toMatch(new RegExp(`/0\\.${format}$`));
  const fetched = await fetch(url);
  expect([fetched.status, fetched.headers.get('content-type')]).toEqual([200, `image/${format}`]);
  const bytes = Buffer.from(await fetched.arrayBuffer());
  if (image !== undefined) expect(bytes.equals(image)).toBe(true);
  expect(await receiptOf(answer)).toMatchObject({
    output_format: format,
    images: [{ content_type: `image/${format}`, bytes: bytes.length }],
  });
}

describe('a call that names no output_format', () => {
  it.each(PROVIDERS.flatMap((provider) => FORMATS.map((format) => ({ provider, format }))))(
    'is delivered the $format of $provider as it came, to the byte, and says what it is',
    async ({ provider, format }) => {
      const image = await picture({ width: 256, height: 256 }, format);
      stage.upstream.play(provider, { does: 'deliver_bytes', bytes: () => image });
      const byUrl = await stage.call(customer, [provider]);
      await expectDelivered(byUrl, format, image);
      const inline = await stage.call(customer, [provider], { response_format: 'b64_json' });
      const { data, output_format: said } = inline.expect(200).body;
      expect([Buffer.from(data[0].b64_json, 'base64').equals(image), said]).toEqual([true, format]);
    },
  );

  it('asks Black Forest Labs for no format, which is its own, and for the one that is named', async () => {
    (await stage.call(customer, [BFL])).expect(200);
    (await stage.call(customer, [BFL], { output_format: 'png' })).expect(200);
    const asked = stage.upstream.seen.map(({ body }) => JSON.parse(body.toString()) as object);
    expect(asked[0]).not.toHaveProperty('output_format');
    expect(asked[1]).toHaveProperty('output_format', 'png');
  });

  it('is given images of different formats as each came; the answer names none then', async () => {
    stage.upstream.play(BFL, { does: 'answer', status: 500, body: {} }, [{ does: 'deliver' }]);
    stage.upstream.play(CLOUDFLARE, { does: 'deliver_bytes', bytes: (size) => picture(size, 'webp') });
    for (const responseFormat of ['url', 'b64_json']) {
      stage.upstream.play(BFL, { does: 'answer', status: 500, body: {} }, [{ does: 'deliver' }]);
      const key = { 'idempotency-key': `mixed-${responseFormat}` };
      const send = () =>
        customer.client.post(
          '/v1/images/generations',
          {
            model: `black-forest-labs/over-black.forest.labs-cloudflare.workers.ai`,
            prompt: 'a fox',
            size: '256x256',
            n: 3,
            response_format: responseFormat,
          },
          key,
        );
      const answer = (await send()).expect(200);
      expect(answer.headers.get('x-charged-micros')).toBe(String(3n * PRICE_MICROS));
      expect(Object.keys(answer.body).sort()).toEqual(['created', 'data']);
      const images = (answer.body.data as { url?: string; b64_json?: string }[]).map(
        ({ url, b64_json: text }) =>
          url === undefined
            ? Buffer.from(text ?? '', 'base64').toString('latin1', 1, 12)
            : path.extname(new URL(url).pathname),
      );
      const isPng = (shown: string) => shown === '.png' || shown.startsWith('PNG');
      expect([images.filter(isPng).length, images.length]).toEqual([1, 3]);
      const receipt = await receiptOf(answer);
      expect(receipt).toMatchObject({ output_format: null, images_delivered: 3 });
      const types = (receipt['images'] as { content_type: string }[]).map(({ content_type: type }) => type);
      expect(types.toSorted()).toEqual(['image/png', 'image/webp', 'image/webp']);
      expect(textOf(await send())).toBe(textOf(answer));
    }
  });
});

describe('a stored image of a call that named no output_format', () => {
  it.each(FORMATS)('is found again by recovery, and by deletion, as %s', async (format) => {
    const image = await picture({ width: 256, height: 256 }, format);
    stage.upstream.play(COMPATIBLE, { does: 'deliver_bytes', bytes: () => image });
    const answer = await stage.call(customer, [COMPATIBLE]);
    const { id } = await receiptOf(answer);
    const key = { accountId: customer.accountId, id: String(id) };
    const { app } = stage.service;
    const generation = await app.get(GenerationReaderService).find(key);
    if (generation === null) throw new Error('the call is not recorded');
    const unnamed = { position: 0, attempt: 1, provider: COMPATIBLE, task: null, status: 'pending' } as const;
    const noProvider = () => {
      throw new Error('no provider is to be asked');
    };
    const found = await app
      .get(ImageMakerService)
      .resume(generation, unnamed, noProvider, AbortSignal.timeout(5_000));
    expect([found.format, found.bytes, found.failure]).toEqual([format, image.length, null]);
    (await customer.client.delete(`/v1/generations/${key.id}/images`)).expect(200);
    expect((await fetch(answer.body.data[0].url)).status).toBe(404);
    const gone = await app
      .get(ImageMakerService)
      .resume(generation, unnamed, noProvider, AbortSignal.timeout(5_000));
    expect(gone.failure).toBe('failed');
  });
});

describe('a call that names its output_format', () => {
  it.each(FORMATS)(
    'is given %s whatever the provider made, and nothing is converted that is so already',
    async (format) => {
      for (const made of FORMATS) {
        const image = await picture({ width: 256, height: 256 }, made);
        stage.upstream.play(COMPATIBLE, { does: 'deliver_bytes', bytes: () => image });
        const answer = await stage.call(customer, [COMPATIBLE], { output_format: format });
        await expectDelivered(answer, format, made === format ? image : undefined);
      }
    },
  );
});

describe('an earlier answer', () => {
  const send = (body: object, headers: Record<string, string>) =>
    customer.client.post(
      '/v1/images/generations',
      { model: 'black-forest-labs/over-openai.compatible', prompt: 'a fox', size: '256x256', ...body },
      headers,
    );
  const generationOf = ({ headers }: TestAnswer) => headers.get('x-generation-id');

  it.each(['url', 'b64_json'])(
    'is repeated to the byte (%s), but not to a call that names a format',
    async (responseFormat) => {
      const body = { response_format: responseFormat };
      const key = { 'idempotency-key': `formats-${responseFormat}` };
      const first = (await send(body, key)).expect(200);
      const again = (await send(body, key)).expect(200);
      expect([textOf(again), again.headers.get('idempotent-replayed')]).toEqual([textOf(first), 'true']);
      (await send({ ...body, output_format: 'png' }, key)).expect(422);
    },
  );

  it.each(['url', 'b64_json'])(
    'of an earlier release, which had meant PNG, is repeated to the byte (%s)',
    async (responseFormat) => {
      const body = { response_format: responseFormat };
      const key = { 'idempotency-key': `upgraded-${responseFormat}` };
      const first = (await send({ ...body, output_format: 'png' }, key)).expect(200);
      // Such a row says PNG, has no format an image, and its answer had no member of that name.
      await stage.service.dataSource.query(
        `UPDATE generation_tasks SET image_format = NULL WHERE generation_id = $1`,
        [generationOf(first)],
      );
      const again = (await send(body, key)).expect(200);
      expect(textOf(again)).toBe(textOf(first).replace(',"output_format":"png"', ''));
      expect(await receiptOf(again)).toMatchObject({
        output_format: 'png',
        images: [{ content_type: 'image/png' }],
      });
    },
  );

  it('is not a retry’s that names another format, and is one’s that names none', async () => {
    const attempt = { 'x-stainless-retry-count': '0' };
    const retry = { 'x-stainless-retry-count': '1' };
    const lost = async (body: object): Promise<string | null> => {
      const answer = (await send(body, attempt)).expect(200);
      await stage.service.app.get(RunningGenerationsService).recorded(customer.accountId);
      await stage.service.dataSource.query(`UPDATE generations SET retry_state = 'abandoned' WHERE id = $1`, [
        generationOf(answer),
      ]);
      return generationOf(answer);
    };
    const unnamed = await lost({});
    expect(generationOf((await send({ output_format: 'png' }, retry)).expect(200))).not.toBe(unnamed);
    expect(generationOf((await send({}, retry)).expect(200))).toBe(unnamed);
    const named = await lost({ output_format: 'png' });
    expect(generationOf((await send({}, retry)).expect(200))).toBe(named);
  });
});

describe('a damaged image', () => {
  const damages: readonly [string, (image: Buffer, format: Format) => Buffer][] = [
    ['cut in half', (image) => image.subarray(0, image.length / 2)],
    ['without its last bytes', (image) => image.subarray(0, image.length - 2)],
    ['followed by others', (image) => Buffer.concat([image, Buffer.from('more')])],
    ['after other bytes', (image) => Buffer.concat([Buffer.from('x'), image.subarray(1)])],
    [
      'with a wrong length in its structure',
      (image, format) => {
        const copy = Buffer.from(image);
        const lengthAt = { png: 8, jpeg: 4, webp: 16 }[format];
        copy[lengthAt] = (copy[lengthAt] ?? 0) ^ 0x40;
        return copy;
      },
    ],
  ];
  const size: Size = { width: 256, height: 256 };

  it.each(damages.flatMap(([how, damage]) => FORMATS.map((format) => ({ how, damage, format }))))(
    'is never charged nor stored: a $format $how, from any provider, named or not',
    async ({ damage, format }) => {
      const poor = await stage.service.createCustomer({ grantMicros: CREDIT_MICROS });
      const whole = await drawSample(size).toFormat(format).toBuffer();
      for (const provider of PROVIDERS) {
        stage.upstream.play(provider, { does: 'deliver_bytes', bytes: () => damage(whole, format) });
        for (const named of [{}, { output_format: format }]) {
          const answer = await stage.call(poor, [provider], { response_format: 'b64_json', ...named });
          expect([answer.status, answer.body.error.code]).toEqual([500, 'upstream_failed']);
          expect(answer.headers.get('x-charged-micros')).toBe('0');
          const files = await readdir(path.join(stage.service.settings.dataDir, 'media'), {
            recursive: true,
          });
          expect(files.filter((file) => file.includes(answer.headers.get('x-generation-id') ?? '-'))).toEqual(
            [],
          );
        }
      }
      await expectReceiptsToAgree(stage.service, poor.accountId);
      expect(await balancesOf(poor)).toEqual({ available: CREDIT_MICROS, held: 0n, posted: CREDIT_MICROS });
    },
  );
});
