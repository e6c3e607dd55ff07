import type { OutputFormat } from '../providers/image-provider.js';
import type { ImageStructure } from './image-structure.js';
import { readJpeg } from './jpeg-structure.js';
import { readPng } from './png-structure.js';
import { readWebp } from './webp-structure.js';

export type ExpectedImage = {
  /** Null when any of the three formats is accepted. */
  readonly format: OutputFormat | null;
  readonly width: number;
  readonly height: number;
};

const PNG_SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

const READERS: Readonly<Record<OutputFormat, (image: Buffer) => ImageStructure>> = {
  png: readPng,
  jpeg: readJpeg,
  webp: readWebp,
};

/** The format of a complete image, or what is wrong with it. */
export type VerifiedImage =
  | { readonly fault: null; readonly format: OutputFormat }
  /** A description for the log. */
  | { readonly fault: string };

/**
 * Checks whether `image` is a complete image of that format and size. Pure.
 *
 * The image is not decoded, which would take fifty times as long: its structure is read to the end, and the checksums that its format
 * has are compared. `docs/adr/0023-images-are-verified-by-structure.md` says what this cannot find, and what decoding would cost.
 */
export function verifyImage(image: Buffer, { format: asked, width, height }: ExpectedImage): VerifiedImage {
  const format = detectFormat(image);
  if (format === null || (asked !== null && format !== asked)) {
    return { fault: `it is no ${asked ?? 'image of a known format'}` };
  }
  const structure = READERS[format](image);
  if (structure.fault !== null) return structure;
  const isSize = structure.width === width && structure.height === height;
  return isSize
    ? { fault: null, format }
    : { fault: `it is ${structure.width}x${structure.height}, not ${width}x${height}` };
}

/** This many bytes are enough to recognise the format. */
export const FORMAT_BYTES = 12;

/** Recognises the format by the first bytes; returns null for anything but the three formats. */
export function detectFormat(image: Buffer): OutputFormat | null {
  if (image.subarray(0, 8).equals(PNG_SIGNATURE)) return 'png';
  if (image[0] === 0xff && image[1] === 0xd8 && image[2] === 0xff) return 'jpeg';
  const isRiff = image.toString('latin1', 0, 4) === 'RIFF' && image.toString('latin1', 8, 12) === 'WEBP';
  return isRiff ? 'webp' : null;
}
