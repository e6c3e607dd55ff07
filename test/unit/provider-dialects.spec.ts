import { describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { CloudflareWorkersAiDialect } from '../../src/gateway/images/providers/cloudflare-workers-ai.dialect.js';
import type { ProviderRequest, ReferenceImage } from '../../src/gateway/images/providers/image-provider.js';
import { OpenAiCompatibleDialect } from '../../src/gateway/images/providers/openai-compatible.dialect.js';
import type { DialectRequest } from '../../src/gateway/images/providers/synchronous.provider.js';

const cloudflare = new CloudflareWorkersAiDialect({
  accountId: 'acct0',
  apiToken: 'cf_token',
  apiBase: new URL('https://api.cloudflare.com'),
});
const compatible = new OpenAiCompatibleDialect({
  apiKey: 'oai_key',
  apiBase: new URL('https://images.example/v1/'),
  headers: { 'x-gateway-provider': 'openai' },
  resultHosts: [new URL('https://cdn.example')],
});

async function reference(width: number, height: number): Promise<ReferenceImage> {
  const bytes = await sharp({ create: { width, height, channels: 3, background: 'teal' } })
    .jpeg()
    .toBuffer();
  return { bytes, contentType: 'image/jpeg', width, height };
}

function requestOf(references: readonly ReferenceImage[], upstreamModel = 'klein'): ProviderRequest {
  const size = { width: 512, height: 256 };
  return { upstreamModel, prompt: 'a fox', ...size, outputFormat: 'png', moderation: 'low', references };
}

const formOf = ({ headers, body }: DialectRequest): Promise<FormData> =>
  new Response(typeof body === 'string' ? body : new Uint8Array(body), {
    headers: { ...headers },
  }).formData();

describe('an edit at Cloudflare Workers AI', () => {
  it('sends the references in order, each smaller than 512 x 512 and whole', async () => {
    const sent = [await reference(300, 200), await reference(2_000, 1_000), await reference(512, 64)];
    const request = await cloudflare.toRequest(requestOf(sent, '@cf/black-forest-labs/flux-2-klein-9b'), {
      slotRequest: { owner: 'acct_a', call: 'gen_a' },
      signal: new AbortController().signal,
    });
    expect(request.url.href).toBe(
      'https://api.cloudflare.com/client/v4/accounts/acct0/ai/run/@cf/black-forest-labs/flux-2-klein-9b',
    );
    expect(request.headers['authorization']).toBe('Bearer cf_token');
    const form = await formOf(request);
    expect([form.get('prompt'), form.get('width'), form.get('height')]).toEqual(['a fox', '512', '256']);
    const sizes = await Promise.all(
      sent.map(async (_reference, index) => {
        const file = form.get(`input_image_${index}`) as File;
        const { width, height } = await sharp(await file.arrayBuffer()).metadata();
        return [width, height];
      }),
    );
    expect(sizes).toEqual([
      [300, 200],
      [511, 256],
      [511, 64],
    ]);
    expect([...form.keys()]).toHaveLength(6);
  });

  it('is passed over with a size or a number of references that it does not take', async () => {
    const one = await reference(64, 64);
    expect(cloudflare.findObstacle(requestOf([one, one, one, one]))).toBeNull();
    expect(cloudflare.findObstacle(requestOf([one, one, one, one, one]))).toContain('image: at most 4');
    expect(cloudflare.findObstacle({ ...requestOf([]), width: 240 })).toContain('size:');
    expect(cloudflare.findObstacle({ ...requestOf([]), height: 1_936 })).toContain('size:');
  });
});

describe('an edit at an OpenAI-compatible server', () => {
  it.each([
    [1, ['image']],
    [3, ['image[]', 'image[]', 'image[]']],
  ])('sends %i references as OpenAI’s own client does', async (count, names) => {
    const references = await Promise.all(Array.from({ length: count }, () => reference(600, 600)));
    const request = await compatible.toRequest(requestOf(references));
    expect(request.url.href).toBe('https://images.example/v1/images/edits');
    const form = await formOf(request);
    const files = [...form.entries()].filter(([, value]) => typeof value !== 'string');
    expect(files.map(([name]) => name)).toEqual(names);
    expect(form.get('size')).toBe('512x256');
    expect(form.get('n')).toBe('1');
  });

  it('sends an image from text alone as JSON, with nothing that a strict server would refuse', async () => {
    const { url, body } = await compatible.toRequest(requestOf([]));
    expect(url.href).toBe('https://images.example/v1/images/generations');
    expect(JSON.parse(String(body))).toEqual({
      model: 'klein',
      prompt: 'a fox',
      n: 1,
      size: '512x256',
      response_format: 'b64_json',
    });
  });
});
