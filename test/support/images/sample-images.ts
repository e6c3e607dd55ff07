import sharp, { type Sharp } from 'sharp';

export type SampleSize = { readonly width: number; readonly height: number };

/** A picture that does not pack well: waves under noise, the same for the same seed. */
export function drawSample({ width, height }: SampleSize, channels: 1 | 2 | 3 | 4 = 3, seed = 1): Sharp {
  const pixels = Buffer.alloc(width * height * channels);
  let state = seed;
  for (let at = 0; at < pixels.length; at += 1) {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
    pixels[at] = 128 + 60 * Math.sin(at / 997) + ((state >> 16) & 31);
  }
  return sharp(pixels, { raw: { width, height, channels } });
}

/** Every way in which sharp writes the three formats that makes another structure. */
export const SAMPLE_ENCODERS = {
  png: (image: Sharp) => image.png(),
  'png, interlaced': (image: Sharp) => image.png({ progressive: true }),
  'png with a palette': (image: Sharp) => image.png({ palette: true, colours: 16 }),
  'png of 16 bits': (image: Sharp) => image.toColourspace('rgb16').png(),
  'png, grey': (image: Sharp) => image.toColourspace('b-w').png(),
  jpeg: (image: Sharp) => image.jpeg({ optimizeCoding: false }),
  'jpeg, optimised': (image: Sharp) => image.jpeg({ quality: 95, chromaSubsampling: '4:4:4' }),
  'jpeg, progressive': (image: Sharp) => image.jpeg({ progressive: true }),
  'jpeg by mozjpeg': (image: Sharp) => image.jpeg({ mozjpeg: true }),
  'jpeg, grey': (image: Sharp) => image.toColourspace('b-w').jpeg(),
  'jpeg of four inks': (image: Sharp) => image.toColourspace('cmyk').jpeg(),
  webp: (image: Sharp) => image.webp(),
  'webp, small': (image: Sharp) => image.webp({ quality: 10, smartSubsample: true }),
  'webp, lossless': (image: Sharp) => image.webp({ lossless: true, effort: 1 }),
  'webp, nearly lossless': (image: Sharp) => image.webp({ nearLossless: true, effort: 1 }),
} as const;

export type SampleEncoding = keyof typeof SAMPLE_ENCODERS;
export const SAMPLE_ENCODINGS = Object.keys(SAMPLE_ENCODERS) as readonly SampleEncoding[];

export function sampleFormat(encoding: SampleEncoding): 'png' | 'jpeg' | 'webp' {
  return /^(png|jpeg|webp)/.exec(encoding)?.[0] as 'png' | 'jpeg' | 'webp';
}

/** Codes of the standard table for how many bits the brightness of a block differs from the one before. */
const DIFFERENCE_CODES = ['00', '010', '011', '100', '101', '110', '1110', '11110', '111110'];
const END_OF_BLOCK = '1010';

/**
 * A grey JPEG whose coded data starts again after every `interval` blocks, which sharp reads but never writes: headers
 * and tables of one that sharp wrote, and flat blocks of random brightness.
 */
export async function restartingJpeg(size: SampleSize, interval: number, seed = 1): Promise<Buffer> {
  const written = await drawSample(size, 1).toColourspace('b-w').jpeg({ optimizeCoding: false }).toBuffer();
  const scanAt = written.indexOf(Buffer.from('ffda0008', 'hex'));
  const blocks = Math.ceil(size.width / 8) * Math.ceil(size.height / 8);
  const parts: Buffer[] = [];
  let state = seed;
  for (let first = 0; first < blocks; first += interval) {
    let bits = '';
    let before = 0;
    for (let block = first; block < Math.min(first + interval, blocks); block += 1) {
      state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
      const brightness = ((state >> 16) & 63) - 32;
      bits += differenceBits(brightness - before) + END_OF_BLOCK;
      before = brightness;
    }
    if (first > 0) parts.push(Buffer.from([0xff, 0xd0 + ((first / interval - 1) % 8)]));
    parts.push(stuffed(bits));
  }
  const restartInterval = Buffer.from([0xff, 0xdd, 0x00, 0x04, interval >> 8, interval & 0xff]);
  const scanHeader = written.subarray(scanAt, scanAt + 10);
  return Buffer.concat([
    written.subarray(0, scanAt),
    restartInterval,
    scanHeader,
    ...parts,
    Buffer.from('ffd9', 'hex'),
  ]);
}

function differenceBits(difference: number): string {
  const length = difference === 0 ? 0 : Math.floor(Math.log2(Math.abs(difference))) + 1;
  const value = difference > 0 ? difference : difference + 2 ** length - 1;
  return (DIFFERENCE_CODES[length] ?? '') + (length === 0 ? '' : value.toString(2).padStart(length, '0'));
}

/** Filled up with ones to whole bytes; after 0xff comes 0, so that it is no marker. */
function stuffed(bits: string): Buffer {
  const bytes = (bits.padEnd(Math.ceil(bits.length / 8) * 8, '1').match(/.{8}/g) ?? []).map((byte) =>
    Number.parseInt(byte, 2),
  );
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [byte, 0] : [byte])));
}
