import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import sharp from 'sharp';
import { ArrivingImage } from '../../src/gateway/images/edits/arriving-image.js';
import { InvalidImageError } from '../../src/gateway/images/edits/edit.errors.js';
import { SLAB_BYTES } from '../../src/gateway/images/edits/slabs.js';
import { plain, RED } from '../support/images/edit-bodies.js';
import { hostilePictures } from '../support/images/hostile-pictures.js';
import {
  drawSample,
  restartingJpeg,
  SAMPLE_ENCODERS,
  SAMPLE_ENCODINGS,
  type SampleEncoding,
  type SampleSize,
} from '../support/images/sample-images.js';
import { checkProperty } from '../support/property.js';

const side = fc.integer({ min: 1, max: 160 });
const size: fc.Arbitrary<SampleSize> = fc.record({ width: side, height: side });
const encoding = fc.constantFrom(...SAMPLE_ENCODINGS);
const channels = fc.constantFrom<1 | 2 | 3 | 4>(1, 2, 3, 4);
const pieceBytes = fc.constantFrom(1, 7, 64, 4_096, 1_000_000);
/** Where in a file, as a share of its length. */
const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

/** As it comes, in pieces of that size: the image that was kept, or null when it was refused. */
function arrive(image: Buffer, pieceBytes = 65_536): Buffer | null {
  const arriving = new ArrivingImage('image');
  try {
    for (let at = 0; at < image.length; at += pieceBytes) arriving.take(image.subarray(at, at + pieceBytes));
    arriving.end();
    return arriving.join();
  } catch (error) {
    if (!(error instanceof InvalidImageError)) throw error;
    arriving.release();
    return null;
  }
}

/** Every pixel, as a reference is decoded. */
async function decodes(image: Buffer): Promise<boolean> {
  return sharp(image, { failOn: 'error', sequentialRead: true })
    .jpeg()
    .toBuffer()
    .then(
      () => true,
      () => false,
    );
}

describe('a reference image that decodes', () => {
  it('is accepted while it comes, to the byte, whatever follows its end and however the network cuts it', async () => {
    await checkProperty(
      'whole references are accepted',
      fc.asyncProperty(
        encoding,
        size,
        channels,
        fc.nat(),
        fc.record({ metadata: fc.boolean(), tail: fc.uint8Array({ maxLength: 40 }), pieceBytes }),
        async (by, of, colours, seed, { metadata, tail, pieceBytes: cut }) => {
          const bare = SAMPLE_ENCODERS[by](drawSample(of, colours, seed));
          const written = metadata
            ? bare.withMetadata({ orientation: 6 }).withIccProfile('p3').withExifMerge(EXIF)
            : bare;
          const image = Buffer.concat([await written.toBuffer(), tail]);
          if (await decodes(image)) expect(arrive(image, cut)).toEqual(image);
          else expect({ by, tail }).toEqual('a tail that the decoder refuses');
        },
      ),
      { runs: 200 },
    );
  });

  it.each(SAMPLE_ENCODINGS)(
    'is accepted when it packs to next to nothing (%s)',
    async (by: SampleEncoding) => {
      for (const { width, height } of [
        { width: 64, height: 512 },
        { width: 3_000, height: 2_000 },
      ]) {
        const image = await SAMPLE_ENCODERS[by](plain(RED, width, height)).toBuffer();
        expect(arrive(image)).toEqual(image);
      }
    },
  );

  it('is accepted as a JPEG with restarts, with fill bytes, or with bytes between its segments', async () => {
    const jpeg = await restartingJpeg({ width: 90, height: 70 }, 3);
    const table = jpeg.indexOf(Buffer.from('ffc4', 'hex'));
    for (const between of ['', 'ff', 'ffffff', '00', '0000aabbcc']) {
      const [begin, end] = [jpeg.subarray(0, table), jpeg.subarray(table)];
      const image = Buffer.concat([begin, Buffer.from(between, 'hex'), end]);
      expect({ between, decodes: await decodes(image) }).toMatchObject({ decodes: true });
      for (const cut of [1, 3, 65_536]) expect(arrive(image, cut)).toEqual(image);
    }
  });

  it('is accepted with any of its bytes changed, if it still decodes', async () => {
    // A JPEG decodes without its data, too, and is grey then.
    const checksummed = SAMPLE_ENCODINGS.filter((by) => !/jpeg/.test(by));
    await checkProperty(
      'references with a changed byte',
      fc.asyncProperty(
        fc.constantFrom(...checksummed),
        size,
        place,
        fc.nat({ max: 255 }),
        async (by, of, where, value) => {
          const image = await SAMPLE_ENCODERS[by](drawSample(of)).toBuffer();
          image[Math.floor(where * image.length)] = value;
          if (await decodes(image)) expect(arrive(image)).toEqual(image);
        },
      ),
      { runs: 200 },
    );
  });
});

describe('a reference image that is damaged', () => {
  it('is refused wherever it was cut short, however the network cuts it', async () => {
    await checkProperty(
      'cut references are refused',
      fc.asyncProperty(
        encoding,
        size,
        fc.array(place, { minLength: 20, maxLength: 20 }),
        pieceBytes,
        async (by, of, places, cut) => {
          const image = await SAMPLE_ENCODERS[by](drawSample(of)).toBuffer();
          const lengths = [...places.map((where) => Math.floor(where * image.length)), image.length - 1];
          for (const length of lengths) expect(arrive(image.subarray(0, length), cut)).toBeNull();
        },
      ),
      { runs: 100 },
    );
  });

  it('is refused without an exception, whatever follows its beginning', async () => {
    const beginnings = await Promise.all(
      SAMPLE_ENCODINGS.map(async (by) =>
        (await SAMPLE_ENCODERS[by](drawSample({ width: 40, height: 40 })).toBuffer()).subarray(0, 400),
      ),
    );
    await checkProperty(
      'garbage is refused',
      fc.asyncProperty(
        fc.constantFrom(...beginnings),
        place,
        fc.uint8Array({ maxLength: 3_000 }),
        pieceBytes,
        (begin, where, rest, cut) => {
          arrive(Buffer.concat([begin.subarray(0, where * begin.length), rest]), cut);
          return Promise.resolve();
        },
      ),
      { runs: 1_000 },
    );
  });

  it('is refused in every way that a picture can be large and worth nothing, with no decoder', async () => {
    const accepted = [...(await hostilePictures(2_000_000))].filter(
      ([, picture]) => arrive(picture) !== null,
    );
    expect(accepted.map(([kind]) => kind)).toEqual([]);
  });
});

describe('the memory of images that come', () => {
  it('is used again, and no image ever has bytes of another', async () => {
    const pngs = await Promise.all(
      [400, 500, 600].map((of) =>
        drawSample({ width: of, height: of }, 3, of).png({ compressionLevel: 0 }).toBuffer(),
      ),
    );
    await checkProperty(
      'images that arrive at the same time',
      fc.asyncProperty(
        fc.array(
          fc.record({ of: fc.nat({ max: 2 }), cut: fc.integer({ min: 1_000, max: 2 * SLAB_BYTES }) }),
          {
            minLength: 1,
            maxLength: 5,
          },
        ),
        fc.array(fc.nat(), { maxLength: 400 }),
        (images, turns) => {
          const open = images.map(({ of, cut }) => ({
            png: pngs[of] as Buffer,
            cut,
            at: 0,
            image: new ArrivingImage('image'),
          }));
          const step = (each: (typeof open)[number]): void => {
            each.image.take(each.png.subarray(each.at, each.at + each.cut));
            each.at += each.cut;
          };
          for (const turn of turns) {
            const each = open[turn % open.length] as (typeof open)[number];
            if (each.at < each.png.length) step(each);
            // Some clients leave.
            else if (turn % 7 === 0) {
              each.image.release();
              Object.assign(each, { at: 0, image: new ArrivingImage('image') });
            }
          }
          for (const each of open) {
            while (each.at < each.png.length) step(each);
            each.image.end();
            expect(each.image.join().equals(each.png)).toBe(true);
          }
          return Promise.resolve();
        },
      ),
      { runs: 100 },
    );
  });
});

const EXIF = { IFD0: { Copyright: 'a customer', ImageDescription: 'what was asked for' } };
