import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import OpenAI, { APIError } from 'openai';
import sharp from 'sharp';
import { CleanUp } from '../support/clean-up.js';
import { newAccount, newApiKey } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';
import { createTestDatabase } from '../support/database/test-database.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const IMAGE_MICROS = 40_000;
const CREDIT_MICROS = 10 * IMAGE_MICROS;
const CAP_IMAGES = 2;

describe('a customer of the gateway, with an unmodified OpenAI SDK', () => {
  const cleanUp = new CleanUp();
  let service: ServiceProcess;

  beforeAll(async () => {
    const database = await createTestDatabase();
    cleanUp.add(() => database.drop());
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    const env = { DATABASE_URL: database.serviceUrl };
    service = await ServiceProcess.start({ dataDir, port: await chooseServicePort(), env });
    cleanUp.add(() => service.kill());
  });

  afterAll(() => cleanUp.run());

  it('makes a key with a cap, has images made up to it and no further, and finds each of them on receipts and in its usage', async () => {
    const account = await newAccount(service, CREDIT_MICROS);
    const owner = service.client(
      await newApiKey(service, account, ['generate', 'wallet:read', 'keys:write']),
    );
    const cap = { total_micros: String(CAP_IMAGES * IMAGE_MICROS) };
    const made = await owner.post('/v1/api_keys', {
      name: 'Shop',
      scopes: ['generate', 'wallet:read'],
      spend_limits: cap,
    });
    const { id: keyId, secret: apiKey } = made.expect(201).body;

    const openai = new OpenAI({
      apiKey,
      baseURL: `${service.url}/v1`,
      defaultHeaders: { 'x-coffer-tag': 'spring-campaign' },
    });
    const ask = { model: MODEL, prompt: 'a red bicycle', size: '256x256' as never };
    const { data: images, response } = await openai.images.generate({ ...ask, n: CAP_IMAGES }).withResponse();
    expect(response.headers.get('x-charged-micros')).toBe(String(CAP_IMAGES * IMAGE_MICROS));
    expect(images.data).toHaveLength(CAP_IMAGES);
    for (const { url = '' } of images.data ?? []) {
      const image = Buffer.from(await (await fetch(url)).arrayBuffer());
      expect(await sharp(image).metadata()).toMatchObject({ width: 256, height: 256 });
    }

    const refused = await openai.images.generate(ask).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(APIError);
    expect(refused).toMatchObject({
      status: 402,
      code: 'key_limit_reached',
      error: { charged_micros: '0', limit_source: 'key' },
    });

    const receipt = await owner.get(`/v1/generations/${response.headers.get('x-generation-id')}`);
    expect(receipt.expect(200).body).toMatchObject({
      status: 'succeeded',
      api_key: keyId,
      tag: 'spring-campaign',
      images_delivered: CAP_IMAGES,
      charged_micros: String(CAP_IMAGES * IMAGE_MICROS),
      charge: {
        balance_before_micros: String(CREDIT_MICROS),
        balance_after_micros: String(CREDIT_MICROS - CAP_IMAGES * IMAGE_MICROS),
      },
    });
    const usage = (await owner.get('/v1/usage?group_by=api_key,tag')).expect(200).body;
    expect(usage.data).toMatchObject([
      {
        api_key: keyId,
        tag: 'spring-campaign',
        images: CAP_IMAGES,
        charged_micros: String(CAP_IMAGES * IMAGE_MICROS),
      },
    ]);
    expect((await owner.get('/v1/wallet')).expect(200).body).toMatchObject({
      posted_micros: String(CREDIT_MICROS - CAP_IMAGES * IMAGE_MICROS),
      held_micros: '0',
    });
    const key = (await owner.get(`/v1/api_keys/${keyId}`)).expect(200).body;
    expect(key.spend_limits).toMatchObject({ ...cap, total_used_micros: cap.total_micros });
  });
});
