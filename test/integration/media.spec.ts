import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/common/ids.js';
import type { MediaName } from '../../src/generation/media/media-name.js';
import { MEDIA_STORE, type MediaStore } from '../../src/generation/media/media-store.js';
import { MediaSigner } from '../../src/generation/media/media-signer.js';
import { generate } from '../support/generation.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/test-app.js';

let service: TestApp;
let customer: TestCustomer;
let url: string;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  customer = await service.createCustomer({ grantMicros: 1_000_000n });
  url = (await generate(customer)).expect(200).body.data[0].url;
});
afterAll(() => service.close());

async function codeOf(response: Response): Promise<string> {
  const body = (await response.json()) as { error: { code: string } };
  return `${response.status} ${body.error.code}`;
}

describe('the URL of an image', () => {
  it('needs no key, and is served as nothing but an image', async () => {
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'cross-origin-resource-policy': 'cross-origin',
      'content-disposition': expect.stringMatching(/^inline; filename="gen_[0-9A-Z]{26}-0\.png"$/) as unknown,
      'cache-control': expect.stringMatching(/^private, max-age=3\d{3}, immutable$/) as unknown,
    });
    const image = Buffer.from(await response.arrayBuffer());
    expect(response.headers.get('content-length')).toBe(String(image.length));
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
    ['of another position', (u: URL) => (u.pathname = u.pathname.replace('/0.png', '/1.png'))],
    ['of another format', (u: URL) => (u.pathname = u.pathname.replace('/0.png', '/0.jpeg'))],
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
    const name = { generationId: id, position: 0, format: 'png' } as const;
    const seconds = Math.floor(Date.now() / 1_000);
    expect((await fetch(signer.urlOf(name, seconds + 5, signer.keyId))).status).toBe(200);
    expect(await codeOf(await fetch(signer.urlOf(name, seconds - 1, signer.keyId)))).toBe(
      '403 invalid_media_url',
    );
  });

  it('is 404 when the image is gone', async () => {
    const signer = service.app.get(MediaSigner);
    const name = { generationId: newId('generation'), position: 0, format: 'png' } as const;
    const seconds = Math.floor(Date.now() / 1_000);
    const gone = await fetch(signer.urlOf(name, seconds + 60, signer.keyId));
    expect(await codeOf(gone)).toBe('404 resource_missing');
  });

  it('is never logged and never in a list of another account', async () => {
    const other = await service.createCustomer();
    expect((await other.client.get('/v1/generations')).body.data).toEqual([]);
  });
});

describe('the store of images', () => {
  const name = (position = 0): MediaName => ({ generationId: newId('generation'), position, format: 'png' });
  const store = () => service.app.get<MediaStore>(MEDIA_STORE);
  const root = () => path.join(service.settings.dataDir, 'media');

  it('gives back what was written, replaces what is written again, and forgets what is removed', async () => {
    const one = name();
    expect(await store().read(one)).toBeNull();
    await store().write(one, Buffer.from('cut sho'));
    await store().write(one, Buffer.from('whole'));
    expect(await store().read(one)).toEqual(Buffer.from('whole'));
    await store().remove(one);
    await store().remove(one);
    expect(await store().read(one)).toBeNull();
    expect(await store().open(one)).toBeNull();
  });

  it('keeps its files to the service alone', async () => {
    await store().write(name(), Buffer.from('x'));
    const [day = ''] = await readdir(root());
    const [minute = ''] = await readdir(path.join(root(), day));
    const [file = ''] = await readdir(path.join(root(), day, minute));
    expect((await stat(path.join(root(), day, minute, file))).mode & 0o777).toBe(0o600);
    expect((await stat(path.join(root(), day))).mode & 0o777).toBe(0o700);
  });

  it('deletes whole days that are past, and nothing else', async () => {
    const kept = name();
    await store().write(kept, Buffer.from('kept'));
    await writeFile(path.join(root(), 'README'), 'not a day');
    expect(await store().removeBefore(Date.now())).toBe(0);
    expect(await store().read(kept)).toEqual(Buffer.from('kept'));
    expect(await store().removeBefore(Date.now() + 24 * 60 * 60_000)).toBe(1);
    expect(await store().read(kept)).toBeNull();
    expect(await readFile(path.join(root(), 'README'), 'utf8')).toBe('not a day');
    await store().write(kept, Buffer.from('again'));
    expect(await store().read(kept)).toEqual(Buffer.from('again'));
  });
});
