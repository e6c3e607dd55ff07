import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import {
  LocalMediaStore,
  type MediaStore,
  type StoredImage,
  type MediaName,
} from '../../src/gateway/images/media/media-store.js';
import { s3Limits, S3MediaStore } from '../../src/gateway/images/media/s3-media-store.js';
import { S3Simulator } from '../support/servers/s3-simulator.js';

const DAY_MS = 24 * 60 * 60_000;

let dataDir: string;
let s3: S3Simulator;
beforeAll(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), 'coffer media '));
  s3 = await S3Simulator.start();
});
afterEach(() => s3.clearFaults());
afterAll(async () => {
  await s3.close();
  await rm(dataDir, { recursive: true });
});

const name = (position = 0): MediaName => ({ generationId: newId('generation'), position, format: 'png' });
const bytesOf = (opened: StoredImage | null) => buffer(opened?.stream ?? Readable.from([]));
/** As in `s3Limits`, in the time of a test. */
const IMPATIENT = { ...s3Limits, silenceMaxMs: 300, operationMs: 1_200 };

const STORES: readonly (readonly [string, () => MediaStore])[] = [
  ['on disk', () => new LocalMediaStore({ dataDir })],
  ['in S3', () => new S3MediaStore(s3.settings)],
];

describe.each(STORES)('the store of images %s', (_where, open) => {
  it('gives back what was written, to the byte, and its size', async () => {
    const one = name();
    const image = Buffer.from(Array.from({ length: 70_000 }, (_, index) => index % 251));
    await open().write(one, image);
    expect((await open().read(one))?.equals(image)).toBe(true);
    expect(await open().getSize(one)).toBe(image.length);
    const opened = await open().open(one);
    expect(opened?.bytes).toBe(image.length);
    expect((await bytesOf(opened)).equals(image)).toBe(true);
  });

  it('says so when there is no such image', async () => {
    expect(await open().read(name())).toBeNull();
    expect(await open().open(name())).toBeNull();
    expect(await open().getSize(name())).toBeNull();
  });

  it('replaces what is written again, and forgets what is removed, also twice', async () => {
    const one = name();
    await open().write(one, Buffer.from('cut sho'));
    await open().write(one, Buffer.from('whole'));
    expect(await open().read(one)).toEqual(Buffer.from('whole'));
    await open().remove(one);
    await open().remove(one);
    expect(await open().read(one)).toBeNull();
  });

  it('keeps the images of a call apart', async () => {
    const one = name();
    const two = { ...one, position: 1 };
    await Promise.all([open().write(one, Buffer.from('one')), open().write(two, Buffer.from('two'))]);
    await open().remove(one);
    expect(await open().read(two)).toEqual(Buffer.from('two'));
  });

  it('deletes whole days that are past, and nothing of a day that is not', async () => {
    const kept = name();
    await open().write(kept, Buffer.from('kept'));
    expect(await open().removeBefore(Date.now())).toBe(0);
    expect(await open().read(kept)).toEqual(Buffer.from('kept'));
    expect(await open().removeBefore(Date.now() + DAY_MS)).toBe(1);
    expect(await open().read(kept)).toBeNull();
    await open().write(kept, Buffer.from('again'));
    expect(await open().read(kept)).toEqual(Buffer.from('again'));
  });
});

describe('the store of images on disk', () => {
  const root = () => path.join(dataDir, 'media');
  const store = () => new LocalMediaStore({ dataDir });

  it('keeps its files to the service alone', async () => {
    await store().write(name(), Buffer.from('x'));
    const [day = ''] = await readdir(root());
    const [minute = ''] = await readdir(path.join(root(), day));
    const [file = ''] = await readdir(path.join(root(), day, minute));
    expect((await stat(path.join(root(), day, minute, file))).mode & 0o777).toBe(0o600);
    expect((await stat(path.join(root(), day))).mode & 0o777).toBe(0o700);
  });

  it('leaves alone what is not its own', async () => {
    await writeFile(path.join(root(), 'README'), 'not a day');
    await store().removeBefore(Date.now() + DAY_MS);
    expect(await readFile(path.join(root(), 'README'), 'utf8')).toBe('not a day');
  });
});

describe('the SDK of S3', () => {
  it('is loaded only where there is a bucket: a start without one stays fast', async () => {
    const loads = async (pattern: RegExp): Promise<string[]> => {
      const files = await readdir('src', { recursive: true });
      const sources = files.filter((file) => file.endsWith('.ts'));
      const found = await Promise.all(
        sources.map(async (file) => pattern.test(await readFile(path.join('src', file), 'utf8'))),
      );
      return sources.filter((_, index) => found[index]);
    };
    expect(await loads(/from '@aws-sdk/)).toEqual(['gateway/images/media/s3-media-store.ts']);
    expect(await loads(/from '.*s3-media-store\.js'/)).toEqual([]);
    expect(await loads(/import\('.*s3-media-store\.js'\)/)).toEqual([
      'gateway/images/media/open-media-store.ts',
    ]);
  });
});

describe('the store of images in S3', () => {
  const image = Buffer.alloc(200_000, 'i');
  const open = (limits = s3Limits) => new S3MediaStore(s3.settings, limits);
  const written = async () => {
    const one = name();
    await open().write(one, image);
    return one;
  };

  it('puts an image under its day and minute, with the type it was decoded as', async () => {
    const one = await written();
    const key = [...s3.objects.keys()].find((found) => found.includes(one.generationId));
    expect(key).toMatch(/^images\/\d{4}-\d\d-\d\d\/\d{4}\/gen_\w{26}-0\.png$/);
    expect(s3.objects.get(key ?? '')?.contentType).toBe('image/png');
  });

  it.each(['slow_down', 'reset', 'lost_answer', 'silence'] as const)(
    'stores an image once all the same when S3 meets it with %s first',
    async (fault) => {
      const one = name();
      s3.fail(fault, 1, 'PUT');
      await open({ ...IMPATIENT, operationMs: 5_000 }).write(one, image);
      expect(await open().read(one)).toEqual(image);
    },
  );

  it.each(['slow_down', 'reset', 'silence', 'refuse'] as const)(
    'never says that an image is stored while S3 meets it with %s, and says so in bounded time',
    async (fault) => {
      const one = name();
      s3.fail(fault, 100);
      const startedMs = performance.now();
      await expect(open(IMPATIENT).write(one, image)).rejects.toMatchObject({ code: 'media_unavailable' });
      expect(performance.now() - startedMs).toBeLessThan(5_000);
      s3.clearFaults();
      expect(await open().read(one)).toBeNull();
    },
  );

  it.each(['truncate', 'stall'] as const)(
    'never takes a part of an image for the whole (%s)',
    async (fault) => {
      const one = await written();
      s3.fail(fault, 1, 'GET');
      await expect(open(IMPATIENT).read(one)).rejects.toMatchObject({ code: 'media_unavailable' });
      s3.fail(fault, 1, 'GET');
      const opened = await open(IMPATIENT).open(one);
      await expect(bytesOf(opened)).rejects.toThrow();
    },
  );

  it('keeps downloads of slow clients from holding up the images of paid calls', async () => {
    const big = name();
    const store = open({ ...s3Limits, socketsMax: 2, operationMs: 1_000 });
    await store.write(big, Buffer.alloc(8_000_000));
    const slow = await Promise.all([store.open(big), store.open(big)]);
    await store.write(name(), image);
    // A third one waits for a connection; in bounded time.
    await expect(store.open(big)).rejects.toMatchObject({ code: 'media_unavailable' });
    slow.forEach((opened) => opened?.stream.destroy());
  });

  it('deletes any number of images, a thousand a request, and goes on where a run was ended', async () => {
    const day = '2020-02-02';
    for (let index = 0; index < 2_500; index += 1) {
      s3.objects.set(`images/${day}/0101/${index}.png`, { body: image, contentType: 'image/png' });
    }
    s3.objects.set(`elsewhere/${day}/1.png`, { body: image, contentType: 'image/png' });
    s3.objects.set(`images/notes/1.png`, { body: image, contentType: 'image/png' });
    const left = () => [...s3.objects.keys()].filter((key) => key.includes(day)).length;
    expect(await open({ ...s3Limits, removalMs: 0 }).removeBefore(Date.parse('2021-01-01'))).toBe(0);
    expect(left()).toBe(1_501);
    expect(await open().removeBefore(Date.parse('2021-01-01'))).toBe(1);
    expect(left()).toBe(1);
    expect(s3.objects.has('images/notes/1.png')).toBe(true);
  });

  it.each([
    ['another secret', (ours: string) => ({ accessKey: { id: ours, secret: 'not the secret of it' } })],
    ['another access key', () => ({ accessKey: { id: 'AKIAFOREIGN0000', secret: 'foreign' } })],
    ['another region', () => ({ region: 'us-west-2' })],
    ['another bucket', () => ({ bucket: 'not-ours' })],
  ])('is refused with %s, and neither the key nor what it signed is in the error', async (_what, change) => {
    const { id, secret } = s3.settings.accessKey;
    const store = new S3MediaStore({ ...s3.settings, ...change(id) });
    const error: unknown = await store.write(name(), image).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'media_unavailable' });
    const shown = inspect(error, { depth: 10, showHidden: true });
    expect(shown).toMatch(/S3 did not store an image: \w+ \(40[34], SIMULATED\)/);
    for (const one of [id, secret, 'AKIAFOREIGN0000', 'AWS4-HMAC']) expect(shown).not.toContain(one);
  });
});
