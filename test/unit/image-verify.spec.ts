import { beforeAll, describe, expect, it } from '@jest/globals';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { drawSample } from '../support/images/sample-images.js';
import { verifyImage, type ExpectedImage } from '../../src/gateway/images/media/verify-image.js';

const findFault = (image: Buffer, expected: ExpectedImage) => verifyImage(image, expected).fault;

const SIZE = { width: 96, height: 64 };
const FORMATS = ['png', 'jpeg', 'webp'] as const;
type Format = (typeof FORMATS)[number];

/** Noise, so that no part of the file is redundant. */
async function picture(format: Format, { width, height } = SIZE): Promise<Buffer> {
  const pixels = Buffer.from(Array.from({ length: width * height * 3 }, (_, index) => (index * 7_919) % 251));
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

describe.each(FORMATS)('a delivered %s', (format) => {
  let whole: Buffer;
  beforeAll(async () => {
    whole = await picture(format);
  });

  it('is accepted when it is whole', () => {
    expect(findFault(whole, { format, ...SIZE })).toBeNull();
  });

  it('is refused wherever it was cut', () => {
    const cuts = [
      0,
      1,
      8,
      12,
      20,
      100,
      whole.length >> 1,
      whole.length - 200,
      whole.length - 20,
      whole.length - 5,
    ];
    for (const length of cuts) {
      expect(findFault(whole.subarray(0, length), { format, ...SIZE })).not.toBeNull();
    }
  });

  it.each([
    { width: 64, height: 96 },
    { width: 96, height: 63 },
    { width: 95, height: 64 },
    { width: 97, height: 64 },
    { width: 96, height: 65 },
    { width: 48, height: 128 },
    { width: 192, height: 32 },
    { width: 32, height: 32 },
    { width: 200, height: 200 },
  ])('is refused when $width x $height was asked for', (size) => {
    expect(findFault(whole, { format, ...size })).not.toBeNull();
  });

  it('is refused under the name of another format', () => {
    for (const other of FORMATS.filter((candidate) => candidate !== format)) {
      expect(findFault(whole, { format: other, ...SIZE })).not.toBeNull();
    }
  });

  it.each([
    ['nothing', ''],
    ['an error page', '<html><body>502 Bad Gateway</body></html>'],
    ['JSON', '{"detail":"expired"}'],
    ['an SVG', '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="64"/>'],
  ])('is refused when it is %s', (_what, text) => {
    expect(findFault(Buffer.from(text), { format, ...SIZE })).not.toBeNull();
  });
});

describe('a delivered image', () => {
  it('is refused when a PNG was damaged in any part of its pixels', async () => {
    const whole = await picture('png');
    for (let part = 1; part < 20; part += 1) {
      const damaged = Buffer.from(whole);
      const at = Math.floor((whole.length * part) / 20);
      damaged[at] = (damaged[at] ?? 0) ^ 0x5a;
      expect(findFault(damaged, { format: 'png', ...SIZE })).not.toBeNull();
    }
  });

  it('is refused when it moves', async () => {
    const frame = (shade: number) => ({
      create: { width: 16, height: 16, channels: 3 as const, background: { r: shade, g: 0, b: 0 } },
    });
    const stills = await Promise.all([0, 255].map((shade) => sharp(frame(shade)).png().toBuffer()));
    const frames = await sharp(stills, { join: { animated: true } })
      .webp({ loop: 0 })
      .toBuffer();
    expect((await sharp(frames).metadata()).pages).toBe(2);
    expect(findFault(frames, { format: 'webp', width: 16, height: 16 })).toMatch(/animation/);
  });

  it('is refused by its header when it unpacks to more pixels than were asked for', async () => {
    const background = { r: 1, g: 2, b: 3 };
    const bomb = await sharp({ create: { width: 4_096, height: 4_096, channels: 3, background } })
      .png()
      .toBuffer();
    expect(findFault(bomb, { format: 'png', width: 64, height: 64 })).toBe('it is 4096x4096, not 64x64');
  });
});

/** The chunks of a PNG; `join` gives each its length and a right checksum. */
type Chunk = { readonly type: string; readonly data: Buffer };

function chunksOf(png: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    chunks.push({
      type: png.toString('latin1', at + 4, at + 8),
      data: png.subarray(at + 8, at + 8 + length),
    });
    at += 12 + length;
  }
  return chunks;
}

function join(chunks: readonly Chunk[]): Buffer {
  const parts = chunks.map(({ type, data }) => {
    const named = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(named), 4);
    return Buffer.concat([frame.subarray(0, 4), named, frame.subarray(4)]);
  });
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), ...parts]);
}

describe('a PNG whose checksums are right', () => {
  const withHeader = (at: number, value: number) => (chunks: readonly Chunk[]) =>
    chunks.map(({ type, data }) => {
      const copy = Buffer.from(data);
      if (type === 'IHDR') copy[at] = value;
      return { type, data: copy };
    });
  const empty = Buffer.alloc(0);
  const before =
    (end: string, ...added: Chunk[]) =>
    (chunks: readonly Chunk[]) =>
      chunks.flatMap((chunk) => (chunk.type === end ? [...added, chunk] : [chunk]));

  it.each<[string, (chunks: readonly Chunk[]) => readonly Chunk[]]>([
    ['has samples of three bits', withHeader(8, 3)],
    ['is of a colour type that there is not', withHeader(9, 1)],
    ['needs a palette that is not there', withHeader(9, 3)],
    ['is packed in an unknown way', withHeader(10, 1)],
    ['is filtered in an unknown way', withHeader(11, 1)],
    ['is interlaced in an unknown way', withHeader(12, 2)],
    ['has no pixels', (chunks) => chunks.filter(({ type }) => type !== 'IDAT')],
    [
      'has too few pixels',
      (chunks) =>
        chunks.map((chunk) =>
          chunk.type === 'IDAT' ? { ...chunk, data: chunk.data.subarray(0, 20) } : chunk,
        ),
    ],
    ['has no end', (chunks) => chunks.filter(({ type }) => type !== 'IEND')],
    [
      'has its pixels in two places',
      (chunks) =>
        before('IEND', { type: 'tEXt', data: empty }, { type: 'IDAT', data: Buffer.from([1]) })(chunks),
    ],
    ['has its palette after its pixels', before('IEND', { type: 'PLTE', data: Buffer.alloc(3) })],
    [
      'is not packed with zlib',
      (chunks) =>
        chunks.map((chunk) =>
          chunk.type === 'IDAT'
            ? { ...chunk, data: Buffer.concat([Buffer.from([0x77]), chunk.data.subarray(1)]) }
            : chunk,
        ),
    ],
    ['needs a chunk of an unknown type', before('IDAT', { type: 'SECR', data: empty })],
    ['moves', before('IDAT', { type: 'acTL', data: Buffer.alloc(8) })],
    ['has a second header', (chunks) => [...chunks.slice(0, 1), ...chunks]],
    ['does not begin with its header', (chunks) => [{ type: 'tEXt', data: empty }, ...chunks]],
    ['goes on after its end', (chunks) => [...chunks, { type: 'tEXt', data: empty }]],
  ])('is refused when it %s', async (_what, change) => {
    const whole = await picture('png');
    const { width, height } = { width: 96, height: 64 };
    expect(findFault(join(chunksOf(whole)), { format: 'png', width, height })).toBeNull();
    expect(findFault(join(change(chunksOf(whole))), { format: 'png', width, height })).not.toBeNull();
  });
});

describe('a JPEG', () => {
  /** Without the segments that `isOut` names, by their marker; coded data goes with its scan. */
  function without(jpeg: Buffer, isOut: (marker: number, nth: number) => boolean): Buffer {
    const kept = [jpeg.subarray(0, 2)];
    const seen = new Map<number, number>();
    for (let at = 2; ;) {
      const marker = jpeg[at + 1] ?? 0;
      if (marker === 0xd9) return Buffer.concat([...kept, jpeg.subarray(at)]);
      let end = at + 2 + jpeg.readUInt16BE(at + 2);
      if (marker === 0xda) while (jpeg[end] !== 0xff || jpeg[end + 1] === 0) end += 1;
      const nth = seen.get(marker) ?? 0;
      seen.set(marker, nth + 1);
      if (!isOut(marker, nth)) kept.push(jpeg.subarray(at, end));
      at = end;
    }
  }
  const SCANS_OF_PROGRESSIVE = 10;

  it.each([
    ['has no frame', 0xc0],
    ['has no quantisation table', 0xdb],
    ['has no Huffman table', 0xc4],
    ['has no scan', 0xda],
  ])('is refused when it %s', async (_what, missing) => {
    const whole = await picture('jpeg');
    expect(
      findFault(
        without(whole, () => false),
        { format: 'jpeg', ...SIZE },
      ),
    ).toBeNull();
    const part = without(whole, (marker) => marker === missing);
    expect(findFault(part, { format: 'jpeg', ...SIZE })).not.toBeNull();
  });

  it('is refused when any of its progressive scans is missing', async () => {
    const whole = await drawSample(SIZE).jpeg({ progressive: true }).toBuffer();
    for (let scan = 0; scan < SCANS_OF_PROGRESSIVE; scan += 1) {
      const part = without(whole, (marker, nth) => marker === 0xda && nth === scan);
      expect(part.length).toBeLessThan(whole.length);
      expect(findFault(part, { format: 'jpeg', ...SIZE })).not.toBeNull();
    }
  });

  it('is refused when its coded data ends long before its pixels do, under a good end', async () => {
    const whole = await picture('jpeg');
    const scanAt = whole.indexOf(Buffer.from('ffda', 'hex'));
    const early = Buffer.concat([whole.subarray(0, scanAt + 34), Buffer.from('ffd9', 'hex')]);
    expect(findFault(early, { format: 'jpeg', ...SIZE })).toMatch(/too short for its pixels/);
  });
});

describe('a WebP', () => {
  it('is refused when its header and its picture disagree', async () => {
    const whole = await drawSample(SIZE, 4)
      .withExif({ IFD0: { Copyright: 'a customer' } })
      .webp()
      .toBuffer();
    expect(findFault(whole, { format: 'webp', ...SIZE })).toBeNull();
    expect(whole.toString('latin1', 12, 16)).toBe('VP8X');
    const canvasWidthAt = 24;
    const smaller = Buffer.from(whole);
    smaller.writeUIntLE(SIZE.width - 2, canvasWidthAt, 3);
    const narrower = { width: SIZE.width - 1, height: SIZE.height };
    expect(findFault(smaller, { format: 'webp', ...narrower })).not.toBeNull();
    expect(findFault(smaller, { format: 'webp', ...SIZE })).not.toBeNull();
  });
});
