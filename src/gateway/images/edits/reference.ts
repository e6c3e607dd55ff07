import { hash } from 'node:crypto';
import sharp from 'sharp';
import type { SentReference } from '../calls/image-request.js';
import { alone, CONVERSION_SECONDS_MAX, conversions, type ConversionContext } from '../media/conversions.js';
import type { OutputFormat } from '../providers/image-provider.js';
import { detectFormat, verifyImage } from '../media/verify-image.js';
import { damaged, EditsBusyError, InvalidImageError, notAnImage } from './edit.errors.js';

/** Telephones take photos of 24 megapixels. Decoded, such a photo needs 75 MB while it is processed. */
const PIXELS_MAX = 25_000_000;
/** Four channels of one byte for each pixel. An image with 16 bits a channel needs twice the memory and time. */
const DECODED_BYTES_MAX = 4 * PIXELS_MAX;
/**
 * A picture whose decoder holds more than this in memory is decoded alone. Most decoders hold only some rows, and need 25 to 45 MB
 * for any picture; others hold all of it in addition, which is 165 MB for 25 megapixels of progressive JPEG (measured).
 */
const HELD_BYTES_MAX = 40_000_000;
/** The model refuses smaller and flatter images: `cap_min_pixels` of github.com/black-forest-labs/flux2, src/flux2/sampling.py. */
const SIDE_MIN = 64;
const ASPECT_MAX = 8;
/** The model scales references down to this: `encode_image_refs` in the same file. */
const SEEN_PIXELS_OF_ONE = 2_024 ** 2;
const SEEN_PIXELS_OF_SEVERAL = 1_024 ** 2;
/** Four megapixels of JPEG at this quality; a PNG of as many may be ten times larger. */
const SENT_BYTES_MAX = 4 * 1_048_576;
/**
 * At this quality no difference is visible. Optimised tables would save 5 to 10% of the bytes, but take twice the time and 40 MB more
 * memory (measured at four megapixels), because the encoder has to hold the whole picture until it knows them.
 */
const JPEG = { quality: 95, chromaSubsampling: '4:4:4', optimizeCoding: false } as const;

/** How long a reference may wait for a conversion slot. No credit is held for its call at that time. */
const CONVERSION_WAIT_MAX_MS = 30_000;
/** How many references of one account may wait for a slot; more would wait longer than that. */
const CONVERSIONS_WAITING_MAX = 16;

/** How many bytes a decoder holds for each decoded byte: two for a progressive JPEG, one for WebP, which may be lossless. */
const HELD_WHEN_PROGRESSIVE: Readonly<Record<OutputFormat, number>> = { png: 1, jpeg: 2, webp: 1 };
const HELD_ALWAYS: Readonly<Record<OutputFormat, number>> = { png: 0, jpeg: 0, webp: 1 };

/** The sample sizes of PNG, JPEG and WebP, by libvips' names of the depths. */
const BYTES_OF_DEPTH: Readonly<Record<string, number>> = { uchar: 1, ushort: 2 };
const DEEPEST_BYTES = 8;

/** The marker with which the coded picture begins. */
const JPEG_SCAN = 0xda;
const JPEG_SEARCHED_BYTES = 1_048_576;
/** A colour profile may take 255, a thumbnail or a description a few dozen. */
const JPEG_SEGMENTS_MAX = 1_000;

/** A reference, with the size that it has upright and before it is scaled. */
export type Reference = SentReference & {
  readonly displayed: { readonly width: number; readonly height: number };
};

/**
 * Reduces an image to what the model uses: upright, with at most as many pixels as the model uses. The provider charges us for every
 * megapixel that is sent, while the customer's price is the same for all sizes. An image that is already like this and structurally
 * complete is passed on unchanged; any other one is decoded, which verifies it as well.
 *
 * @param sent must have passed `ImageCheck`, because other data may keep a decoder busy for a second.
 * @param count how many references the call has.
 * @param context the account whose share of the conversions is used; its signal ends the wait for a slot.
 * @throws InvalidImageError, and EditsBusyError (429) when too many wait to be converted.
 */
export async function readReference(
  sent: Buffer,
  param: string,
  count: number,
  context: ConversionContext,
): Promise<Reference> {
  const { format, width, height, orientation, heldBytes } = await inspect(sent, param);
  const isTurned = orientation > 4;
  const displayed = isTurned ? { width: height, height: width } : { width, height };
  const seenPixels = count === 1 ? SEEN_PIXELS_OF_ONE : SEEN_PIXELS_OF_SEVERAL;
  const scale = Math.min(1, Math.sqrt(seenPixels / (width * height)));
  // Only complete images are hashed, because hashing megabytes takes time.
  const whole = (image: Pick<Reference, 'bytes' | 'contentType' | 'width' | 'height'>): Reference => {
    return { ...image, displayed, sentSha256: hash('sha256', sent, 'hex') };
  };
  const isReady = scale === 1 && orientation <= 1 && sent.length <= SENT_BYTES_MAX;
  if (isReady && verifyImage(sent, { format, width, height }).fault === null) {
    return whole({ bytes: sent, contentType: `image/${format}`, width, height });
  }
  const convert = () =>
    // Every pixel contributes to the result, so a damaged one must be an error.
    sharp(sent, { failOn: 'error', sequentialRead: true, limitInputPixels: PIXELS_MAX })
      .timeout({ seconds: CONVERSION_SECONDS_MAX })
      .autoOrient()
      .resize(Math.floor(displayed.width * scale), Math.floor(displayed.height * scale), { fit: 'fill' })
      .flatten({ background: '#fff' })
      .jpeg(JPEG)
      .toBuffer({ resolveWithObject: true })
      .catch(() => {
        throw damaged(param);
      });
  const { owner } = context.slotRequest;
  if (conversions.countWaiting(owner) >= CONVERSIONS_WAITING_MAX) throw new EditsBusyError();
  const slots = heldBytes > HELD_BYTES_MAX ? alone(context) : context;
  const { data, info } = await conversions
    .run(slots, convert, CONVERSION_WAIT_MAX_MS)
    .catch((error: unknown) => {
      throw error instanceof InvalidImageError ? error : new EditsBusyError();
    });
  return whole({ bytes: data, contentType: 'image/jpeg', width: info.width, height: info.height });
}

/** Checks everything that can be known without decoding, because decoding is what an attacker would want to make expensive. */
async function inspect(sent: Buffer, param: string) {
  const format = detectFormat(sent);
  if (format === null) throw notAnImage(param);
  const {
    width,
    height,
    orientation = 1,
    channels,
    depth,
    isProgressive,
  } = await sharp(format === 'jpeg' ? headOfJpeg(sent) : sent, { limitInputPixels: false })
    .metadata()
    .catch(() => {
      throw new InvalidImageError(param, 'cannot be decoded');
    });
  // A file of a few kilobytes may claim any size.
  if (width * height > PIXELS_MAX) throw new InvalidImageError(param, `has more than ${PIXELS_MAX} pixels`);
  const decodedBytes = width * height * channels * (BYTES_OF_DEPTH[depth] ?? DEEPEST_BYTES);
  if (decodedBytes > DECODED_BYTES_MAX) {
    throw new InvalidImageError(
      param,
      `takes ${decodedBytes} bytes when it is decoded, and ${DECODED_BYTES_MAX} are allowed: send 8 bits a channel`,
    );
  }
  if (Math.min(width, height) < SIDE_MIN)
    throw new InvalidImageError(param, `has a side of less than ${SIDE_MIN} pixels`);
  if (Math.max(width, height) > ASPECT_MAX * Math.min(width, height)) {
    throw new InvalidImageError(param, `is more than ${ASPECT_MAX} times as long as it is wide`);
  }
  const isHeld = isProgressive ? HELD_WHEN_PROGRESSIVE[format] : HELD_ALWAYS[format];
  return { format, width, height, orientation, heldBytes: isHeld * decodedBytes };
}

/**
 * Returns the segments before the coded picture and a megabyte more. The file is cut here because a decoder that misses something
 * searches for it to the end of its input.
 */
function headOfJpeg(jpeg: Buffer): Buffer {
  let at = 2;
  for (let segments = 0; segments < JPEG_SEGMENTS_MAX && at + 4 <= jpeg.length; segments += 1) {
    if (jpeg[at] !== 0xff || jpeg[at + 1] === JPEG_SCAN) break;
    at += 2 + jpeg.readUInt16BE(at + 2);
  }
  return jpeg.subarray(0, at + JPEG_SEARCHED_BYTES);
}
