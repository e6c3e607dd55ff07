import { hash } from 'node:crypto';
import sharp from 'sharp';
import type { SentReference } from '../calls/image-request.js';
import { alone, CONVERSION_SECONDS_MAX, conversions, type ConversionContext } from '../media/conversions.js';
import type { OutputFormat } from '../providers/image-provider.js';
import { formatOf, verifyImage } from '../media/verify-image.js';
import { damaged, EditsBusyError, InvalidImageError, notAnImage } from './edit.errors.js';

/** A photo of 24 megapixels, as telephones take them; decoded it is 75 MB, and for as long as it is looked at. */
const PIXELS_MAX = 25_000_000;
/** Four channels of one byte for each of them. An image with 16 bits a channel takes twice the memory and time for its pixels. */
const DECODED_BYTES_MAX = 4 * PIXELS_MAX;
/**
 * Of a picture whose decoder holds all of it: what holds more is decoded alone. Most decoders hold some rows only, and take 25 to 45 MB
 * for any picture; these take as much and what they hold, 165 MB for 25 megapixels of progressive JPEG (measured).
 */
const HELD_BYTES_MAX = 40_000_000;
/** The model refuses less, and flatter ones: `cap_min_pixels` of github.com/black-forest-labs/flux2, src/flux2/sampling.py. */
const SIDE_MIN = 64;
const ASPECT_MAX = 8;
/** What the model scales references down to before it looks: `encode_image_refs`, at the same place. */
const SEEN_PIXELS_OF_ONE = 2_024 ** 2;
const SEEN_PIXELS_OF_SEVERAL = 1_024 ** 2;
/** Four megapixels of JPEG at this quality; a PNG of as many may be ten times larger. */
const SENT_BYTES_MAX = 4 * 1_048_576;
/**
 * No difference that anybody sees. Tables made for each picture would save 5 to 10% of its bytes, for twice the time and 40 MB of memory
 * (measured at four megapixels): the encoder has to hold all of it until it knows them.
 */
const JPEG = { quality: 95, chromaSubsampling: '4:4:4', optimizeCoding: false } as const;

/** How long a reference may wait for a conversion slot; no credit is held for its call yet. */
const CONVERSION_WAIT_MAX_MS = 30_000;
/** References of one account that may wait for one: more would wait longer than that. */
const CONVERSIONS_WAITING_MAX = 16;

/** How often a decoder holds all samples of a picture: of a progressive JPEG with two bytes each, of WebP where it is lossless. */
const HELD_WHEN_PROGRESSIVE: Readonly<Record<OutputFormat, number>> = { png: 1, jpeg: 2, webp: 1 };
const HELD_ALWAYS: Readonly<Record<OutputFormat, number>> = { png: 0, jpeg: 0, webp: 1 };

/** Of the depths that PNG, JPEG and WebP have, as libvips calls them. */
const BYTES_OF_DEPTH: Readonly<Record<string, number>> = { uchar: 1, ushort: 2 };
const DEEPEST_BYTES = 8;

/** The marker that the picture itself begins with. */
const JPEG_SCAN = 0xda;
const JPEG_SEARCHED_BYTES = 1_048_576;
/** A colour profile may take 255, a thumbnail or a description a few dozen. */
const JPEG_SEGMENTS_MAX = 1_000;

/** What a reference looks like, upright, before it is scaled. */
export type Reference = SentReference & {
  readonly displayed: { readonly width: number; readonly height: number };
};

/**
 * Makes of an image what the model sees anyway: upright, at most as many pixels as the model looks at. The provider charges
 * us for every megapixel sent, at a price that is the same for all sizes. An image that is so already, and whose structure
 * is whole, goes on as it is, to the byte; any other one is decoded, which proves it as well.
 *
 * @param sent all of an `ArrivingImage`: what it would refuse may cost a decoder a second.
 * @param count how many references the call has.
 * @param context whose share of the conversions it takes; its signal ends the wait for one.
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
  // Only of what is whole: hashing megabytes takes time.
  const whole = (image: Pick<Reference, 'bytes' | 'contentType' | 'width' | 'height'>): Reference => {
    return { ...image, displayed, sentSha256: hash('sha256', sent, 'hex') };
  };
  const isReady = scale === 1 && orientation <= 1 && sent.length <= SENT_BYTES_MAX;
  if (isReady && verifyImage(sent, { format, width, height }).fault === null) {
    return whole({ bytes: sent, contentType: `image/${format}`, width, height });
  }
  const convert = () =>
    // Every pixel goes into the result.
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
  if (conversions.waitingOf(owner) >= CONVERSIONS_WAITING_MAX) throw new EditsBusyError();
  const turn = heldBytes > HELD_BYTES_MAX ? alone(context) : context;
  const { data, info } = await conversions
    .run(turn, convert, CONVERSION_WAIT_MAX_MS)
    .catch((error: unknown) => {
      throw error instanceof InvalidImageError ? error : new EditsBusyError();
    });
  return whole({ bytes: data, contentType: 'image/jpeg', width: info.width, height: info.height });
}

/** All that can be known without decoding, which is what a large lie would be made for. */
async function inspect(sent: Buffer, param: string) {
  const format = formatOf(sent);
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
  // A file of a few kilobytes may claim to be of any size.
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
 * Up to where its segments follow each other, which is all before the picture itself, and a megabyte more: the decoder looks
 * for what it misses to the end of what it is given.
 */
function headOfJpeg(jpeg: Buffer): Buffer {
  let at = 2;
  for (let segments = 0; segments < JPEG_SEGMENTS_MAX && at + 4 <= jpeg.length; segments += 1) {
    if (jpeg[at] !== 0xff || jpeg[at + 1] === JPEG_SCAN) break;
    at += 2 + jpeg.readUInt16BE(at + 2);
  }
  return jpeg.subarray(0, at + JPEG_SEARCHED_BYTES);
}
