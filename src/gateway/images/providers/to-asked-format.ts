import sharp, { type Sharp } from 'sharp';
import { CONVERSION_SECONDS_MAX, conversions, type ConversionContext } from '../media/conversions.js';
import { detectFormat } from '../media/verify-image.js';
import type { OutputFormat, ProviderRequest } from './image-provider.js';
import { ProviderFailure } from './provider-failure.js';

/** At this quality no difference from the provider's image is visible. */
const QUALITY = 95;

const ENCODERS: Readonly<Record<OutputFormat, (image: Sharp) => Sharp>> = {
  png: (image) => image.png({ compressionLevel: 6 }),
  // JPEG has no transparency. Without a background colour, transparent pixels would become black.
  jpeg: (image) =>
    image.flatten({ background: 'white' }).jpeg({ quality: QUALITY, chromaSubsampling: '4:4:4' }),
  webp: (image) => image.webp({ quality: QUALITY }),
};

/**
 * Converts an image to the requested format, for providers that choose the format themselves. The bytes stay unchanged when the image
 * already has that format and when none was requested. The size is never changed, because an image of another size is not the one that
 * was requested. Throws `ProviderFailure` (`failed`) for another size, for data that is no image, and when the signal aborts before a
 * slot is free.
 */
export async function toRequestedFormat(
  image: Buffer,
  { outputFormat, width, height }: Pick<ProviderRequest, 'outputFormat' | 'width' | 'height'>,
  context: ConversionContext,
): Promise<Buffer> {
  if (outputFormat === null) return image;
  const format = detectFormat(image);
  if (format === null) throw new ProviderFailure('failed', 'the result is no image of a known format');
  if (format === outputFormat) return image;
  try {
    return await conversions.run(context, () => convert(image, outputFormat, { width, height }));
  } catch (error) {
    if (error instanceof ProviderFailure) throw error;
    const reason = context.signal.aborted
      ? 'the result was not converted in time'
      : 'the result does not decode';
    throw new ProviderFailure('failed', reason, { cause: error });
  }
}

async function convert(
  image: Buffer,
  format: OutputFormat,
  { width, height }: { readonly width: number; readonly height: number },
): Promise<Buffer> {
  const decoded = sharp(image, { failOn: 'error', limitInputPixels: width * height });
  const made = await decoded.metadata();
  if (made.width !== width || made.height !== height) {
    throw new ProviderFailure('failed', `asked for ${width}x${height}, made ${made.width}x${made.height}`);
  }
  return ENCODERS[format](decoded).timeout({ seconds: CONVERSION_SECONDS_MAX }).toBuffer();
}
