import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import sharp from 'sharp';
import { verifyImage, type ExpectedImage } from '../../src/gateway/images/media/verify-image.js';
import { checkProperty } from '../support/property.js';
import {
  drawSample,
  restartingJpeg,
  SAMPLE_ENCODERS,
  SAMPLE_ENCODINGS,
  sampleFormat,
  type SampleEncoding,
  type SampleSize,
} from '../support/images/sample-images.js';

const findFault = (image: Buffer, expected: ExpectedImage) => verifyImage(image, expected).fault;

const side = fc.integer({ min: 1, max: 120 });
const size: fc.Arbitrary<SampleSize> = fc.record({ width: side, height: side });
const encoding = fc.constantFrom(...SAMPLE_ENCODINGS);
const seed = fc.nat();
/** Where in a file, as a share of its length. */
const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const bit = fc.integer({ min: 0, max: 7 });

function encode(by: SampleEncoding, of: SampleSize, channels: 1 | 2 | 3 | 4 = 3, from = 1): Promise<Buffer> {
  return SAMPLE_ENCODERS[by](drawSample(of, channels, from)).toBuffer();
}

function flipped(image: Buffer, at: number, which: number): Buffer {
  const copy = Buffer.from(image);
  copy[at] = (copy[at] ?? 0) ^ (1 << which);
  return copy;
}

async function decodes(image: Buffer): Promise<boolean> {
  return sharp(image, { failOn: 'error' })
    .raw()
    .toBuffer()
    .then(
      () => true,
      () => false,
    );
}

/** Places of the bytes that make the structure of a JPEG, by a walk of its own: no table's values, no coded data. */
function jpegFrame(jpeg: Buffer): number[] {
  const places = [0, 1];
  let at = 2;
  for (;;) {
    const marker = jpeg[at + 1] ?? 0;
    // The number of an application's segment says nothing of the picture.
    places.push(at, ...(marker >= 0xe0 && marker <= 0xef ? [] : [at + 1]));
    if (marker === 0xd9) return places;
    if (marker >= 0xd0 && marker <= 0xd7) at += 2;
    else {
      places.push(at + 2, at + 3);
      const data = at + 4;
      const length = jpeg.readUInt16BE(at + 2);
      // Precision, height, width and the number of components.
      if (marker === 0xc0 || marker === 0xc2)
        places.push(...[0, 1, 2, 3, 4, 5].map((offset) => data + offset));
      // How many components, and which of their coefficients.
      if (marker === 0xda) places.push(data, ...[3, 4, 5].map((back) => at + 2 + length - back + 2));
      if (marker === 0xdd) places.push(data, data + 1);
      at += 2 + length;
      if (marker !== 0xda) continue;
    }
    while (jpeg[at] !== 0xff || jpeg[at + 1] === 0) at += 1;
    // Tables between two scans, whose marker is gone, are read as coded data: nothing counts how much of that there is.
    while (jpeg[at + 1] === 0xc4) at += 2 + jpeg.readUInt16BE(at + 2);
  }
}

/** The header of the file, of every chunk, and of the picture itself. */
function webpFrame(webp: Buffer): number[] {
  const bytes = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);
  const places = bytes(0, 12);
  for (let at = 12; at < webp.length;) {
    const type = webp.toString('latin1', at, at + 4);
    places.push(...bytes(at + 4, 4));
    if (type === 'VP8X') places.push(...bytes(at + 8, 10));
    // Not the version (how it is smoothed) nor the upper bits of the length of the first part.
    if (type === 'VP8 ') places.push(...bytes(at + 11, 7));
    if (type === 'VP8L') places.push(...bytes(at + 8, 4));
    const length = webp.readUInt32LE(at + 4);
    at += 8 + length + (length & 1);
  }
  return places;
}

const exif = { IFD0: { Copyright: 'a customer', ImageDescription: 'what was asked for' } };

describe('any image that sharp writes', () => {
  it('is accepted, at its size and no other', async () => {
    await checkProperty(
      'whole images are accepted',
      fc.asyncProperty(
        encoding,
        size,
        fc.constantFrom<1 | 2 | 3 | 4>(1, 2, 3, 4),
        seed,
        fc.boolean(),
        async (by, of, channels, from, withMetadata) => {
          const plain = SAMPLE_ENCODERS[by](drawSample(of, channels, from));
          const image = await (
            withMetadata
              ? plain.withMetadata({ orientation: 6 }).withExifMerge(exif).withIccProfile('p3')
              : plain
          ).toBuffer();
          const format = sampleFormat(by);
          expect(findFault(image, { format, ...of })).toBeNull();
          expect(findFault(image, { format: null, ...of })).toBeNull();
          expect(findFault(image, { format, width: of.width + 1, height: of.height })).not.toBeNull();
          expect(findFault(image, { format, width: of.width, height: of.height + 1 })).not.toBeNull();
        },
      ),
      { runs: 150 },
    );
  });

  it('is accepted as a JPEG with restarts, and refused when one is missing or out of order', async () => {
    await checkProperty(
      'restarts are counted',
      fc.asyncProperty(
        size,
        fc.integer({ min: 1, max: 40 }),
        seed,
        place,
        async (of, interval, from, where) => {
          const image = await restartingJpeg(of, interval, from);
          expect(await decodes(image)).toBe(true);
          expect(findFault(image, { format: 'jpeg', ...of })).toBeNull();
          const restarts: number[] = [];
          for (let at = image.indexOf(Buffer.from('ffda', 'hex')); at < image.length - 1; at += 1) {
            if (image[at] === 0xff && ((image[at + 1] ?? 0) & 0xf8) === 0xd0) restarts.push(at);
          }
          const at = restarts[Math.floor(where * restarts.length)];
          if (at === undefined) return;
          const without = Buffer.concat([image.subarray(0, at), image.subarray(at + 2)]);
          expect(findFault(without, { format: 'jpeg', ...of })).not.toBeNull();
          expect(findFault(flipped(image, at + 1, 0), { format: 'jpeg', ...of })).not.toBeNull();
        },
      ),
      { runs: 60 },
    );
  });
});

describe('a damaged image', () => {
  it('is refused wherever it was cut short', async () => {
    await checkProperty(
      'cut images are refused',
      fc.asyncProperty(
        encoding,
        size,
        seed,
        fc.array(place, { minLength: 20, maxLength: 20 }),
        async (by, of, from, places) => {
          const image = await encode(by, of, 3, from);
          const lengths = [
            ...places.map((where) => Math.floor(where * image.length)),
            image.length - 1,
            image.length - 2,
          ];
          for (const length of lengths) {
            expect(findFault(image.subarray(0, length), { format: null, ...of })).not.toBeNull();
          }
        },
      ),
      { runs: 100 },
    );
  });

  it('is accepted with a part left out only if it decodes', async () => {
    await checkProperty(
      'images with a gap',
      fc.asyncProperty(encoding, size, seed, place, place, async (by, of, from, one, other) => {
        const image = await encode(by, of, 3, from);
        const [begin = 0, end = 0] = [one, other]
          .map((where) => Math.floor(where * image.length))
          .sort((a, b) => a - b);
        fc.pre(end > begin);
        const rest = Buffer.concat([image.subarray(0, begin), image.subarray(end)]);
        const isAccepted = findFault(rest, { format: null, ...of }) === null;
        // libjpeg refuses some gaps between the scans of a progressive JPEG that still fit one another.
        if (isAccepted && !/progressive|mozjpeg/.test(by)) expect(await decodes(rest)).toBe(true);
      }),
      { runs: 150 },
    );
  });

  it('is refused when bytes follow its end', async () => {
    await checkProperty(
      'images with a tail',
      fc.asyncProperty(
        encoding,
        size,
        fc.uint8Array({ minLength: 1, maxLength: 9 }),
        async (by, of, tail) => {
          const image = Buffer.concat([await encode(by, of), tail]);
          expect(findFault(image, { format: null, ...of })).not.toBeNull();
        },
      ),
      { runs: 50 },
    );
  });

  it('is refused when any one bit of a PNG is flipped', async () => {
    const pngs = SAMPLE_ENCODINGS.filter((by) => sampleFormat(by) === 'png');
    await checkProperty(
      'flips in a PNG',
      fc.asyncProperty(fc.constantFrom(...pngs), size, place, bit, async (by, of, where, which) => {
        const image = await encode(by, of);
        const damaged = flipped(image, Math.floor(where * image.length), which);
        expect(findFault(damaged, { format: null, ...of })).not.toBeNull();
      }),
      { runs: 150 },
    );
  });

  it.each([
    ['JPEG', 'jpeg', jpegFrame],
    ['WebP', 'webp', webpFrame],
  ] as const)(
    'is refused when any one bit of a %s’s markers, lengths, sizes or counts is flipped',
    async (_name, format, frame) => {
      const encodings = SAMPLE_ENCODINGS.filter((by) => sampleFormat(by) === format);
      for (const by of encodings) {
        const of = { width: 72, height: 56 };
        const image = await encode(by, of);
        for (const at of frame(image)) {
          for (let which = 0; which < 8; which += 1) {
            const damaged = flipped(image, at, which);
            // An extended frame of 8 bits is decoded as a baseline one.
            if (image[at - 1] === 0xff && image[at] === 0xc0 && damaged[at] === 0xc1) continue;
            const fault = findFault(damaged, { format: null, ...of });
            if (fault === null)
              throw new Error(`${by}: bit ${which} of byte ${at} (${image[at]?.toString(16)})`);
          }
        }
      }
    },
  );

  it('is refused without an exception, whatever follows its beginning', async () => {
    const beginnings = await Promise.all(
      SAMPLE_ENCODINGS.map(async (by) => (await encode(by, { width: 40, height: 40 })).subarray(0, 400)),
    );
    await checkProperty(
      'garbage is refused',
      fc.asyncProperty(
        fc.constantFrom(...beginnings),
        place,
        fc.uint8Array({ maxLength: 3_000 }),
        (begin, where, rest) => {
          const kept = begin.subarray(0, Math.floor((where * begin.length) / 2));
          const image = Buffer.concat([kept, rest]);
          expect(findFault(image, { format: null, width: 40, height: 40 })).not.toBeNull();
          return Promise.resolve();
        },
      ),
      { runs: 2_000 },
    );
  });
});
