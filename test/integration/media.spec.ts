import path from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { MediaSigner } from '../../src/gateway/images/media/media-store.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { generate } from '../fixtures/images.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';

let service: TestApp;
let customer: TestCustomer;
let url: string;
beforeAll(async () => {
  service = await sharedApp();
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
  url = (await generate(customer)).expect(200).body.data[0].url;
});

async function codeOf(response: Response): Promise<string> {
  const body = (await response.json()) as { error: { code: string } };
  return `${response.status} ${body.error.code}`;
}

describe('the URL of an image', () => {
  it('needs no key, and is served as nothing but an image', async () => {
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/jpeg',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'cross-origin-resource-policy': 'cross-origin',
      'content-disposition': expect.stringMatching(
        /^inline; filename="gen_[0-9A-Z]{26}-0\.jpeg"$/,
      ) as unknown,
      'cache-control': expect.stringMatching(/^private, max-age=3\d{3}, immutable$/) as unknown,
    });
    const image = Buffer.from(await response.arrayBuffer());
    expect(response.headers.get('content-length')).toBe(String(image.length));
  });

  it('answers HEAD with the same headers and no body', async () => {
    const whole = await fetch(url);
    const head = await fetch(url, { method: 'HEAD' });
    expect(head.status).toBe(200);
    for (const name of ['content-type', 'content-length', 'etag', 'content-disposition']) {
      expect([name, head.headers.get(name)]).toEqual([name, whole.headers.get(name)]);
    }
    expect((await head.arrayBuffer()).byteLength).toBe(0);
    await whole.arrayBuffer();
  });

  it('is not sent again to a client that has it, and never confirmed to one without the signature', async () => {
    const etag = (await fetch(url, { method: 'HEAD' })).headers.get('etag') ?? '';
    const ask = (ifNoneMatch: string, at = url) =>
      fetch(at, { headers: { 'if-none-match': ifNoneMatch, 'cache-control': 'no-cache' } });
    for (const match of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const answer = await ask(match);
      expect([match, answer.status]).toEqual([match, 304]);
      expect(answer.headers.get('etag')).toBe(etag);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect((await answer.arrayBuffer()).byteLength).toBe(0);
    }
    const other = await ask('"other"');
    expect(other.status).toBe(200);
    expect((await other.arrayBuffer()).byteLength).toBe(Number(other.headers.get('content-length')));
    expect(await codeOf(await ask(etag, url.slice(0, -1)))).toBe('403 invalid_media_url');
  });

  it('works for at least 60 minutes after the answer', () => {
    const expires = Number(new URL(url).searchParams.get('expires'));
    expect(expires - Date.now() / 1_000).toBeGreaterThan(3_600);
  });

  it.each([
    ['without a signature', (u: URL) => u.searchParams.delete('signature')],
    ['with a forged signature', (u: URL) => u.searchParams.set('signature', 'A'.repeat(43))],
    ['with two signatures', (u: URL) => u.searchParams.append('signature', 'x')],
    ['with a later expiry', (u: URL) => u.searchParams.set('expires', '9999999999')],
    ['without an expiry', (u: URL) => u.searchParams.delete('expires')],
    ['of another position', (u: URL) => (u.pathname = u.pathname.replace('/0.jpeg', '/1.jpeg'))],
    ['of another format', (u: URL) => (u.pathname = u.pathname.replace('/0.jpeg', '/0.png'))],
    ['that leads upwards', (u: URL) => (u.pathname = `${path.dirname(u.pathname)}/..%2F..%2Fsecrets.json`)],
    [
      'that leads upwards by its generation',
      (u: URL) => (u.pathname = '/v1/media/..%2F..%2F..%2Fetc/passwd'),
    ],
  ])('is refused %s, before anything is looked up', async (_what, change) => {
    const changed = new URL(url);
    change(changed);
    expect(await codeOf(await fetch(changed))).toBe('403 invalid_media_url');
  });

  it('is refused once it has expired', async () => {
    const signer = service.app.get(MediaSigner);
    const id = new URL(url).pathname.split('/')[3] ?? '';
    const name = { generationId: id, position: 0, format: 'jpeg' } as const;
    const seconds = Math.floor(Date.now() / 1_000);
    expect((await fetch(signer.signUrl(name, seconds + 5, signer.keyId))).status).toBe(200);
    expect(await codeOf(await fetch(signer.signUrl(name, seconds - 1, signer.keyId)))).toBe(
      '403 invalid_media_url',
    );
  });

  it('is 404 when the image is gone', async () => {
    const signer = service.app.get(MediaSigner);
    const name = { generationId: newId('generation'), position: 0, format: 'png' } as const;
    const seconds = Math.floor(Date.now() / 1_000);
    const gone = await fetch(signer.signUrl(name, seconds + 60, signer.keyId));
    expect(await codeOf(gone)).toBe('404 resource_missing');
  });

  it('is never logged and never in a list of another account', async () => {
    const other = await service.createCustomer();
    expect((await other.client.get('/v1/generations')).body.data).toEqual([]);
  });
});
