import type { MicroUsd } from '../../../platform/common/money.js';
import { Readable } from 'node:stream';
import type { AnswerImage } from './answer-images.js';
import { base64Length, encodeBase64, writeBase64 } from './base64.js';
import { URL_VALID_SECONDS, type MediaSigner } from '../media/media-signer.js';
import { mediaNameOf } from '../media/media-name.js';
import type { OutputFormat } from '../providers/image-provider.js';
import type { BillingMode, DeliveredImage, Generation } from './records/generation.js';

/** A body that is made while it is sent. What a failure cuts short ends with its connection, so no client takes it for whole. */
export type StreamedBody = { readonly bytes: number; readonly stream: Readable };

export type AnswerBody = string | Buffer | StreamedBody;

/** The answer of a paid call, ready to be sent. */
export type GenerationAnswer = {
  /** OpenAI's `ImagesResponse`, serialised. The same generation always has the same bytes. */
  readonly body: AnswerBody;
  readonly generationId: string;
  readonly billingMode: BillingMode;
  /** The refused call over the customer's own key that this one was made instead of. */
  readonly fellBackFrom: string | null;
  readonly chargedMicros: MicroUsd;
  /** Null when no wallet is involved, and on a replay. */
  readonly availableMicros: MicroUsd | null;
  readonly replayed: boolean;
};

/** The longest that a call takes; its URLs are to work for a whole hour after the answer. */
const CALL_SECONDS_MAX = 120;

/**
 * When the URLs in a call's answer expire. It follows from the call's beginning alone, so that the answer can be
 * told again to the byte, even by another process after a crash.
 */
export function answerExpirySeconds({ createdAtMs }: Generation): number {
  return Math.floor(createdAtMs / 1_000) + URL_VALID_SECONDS + CALL_SECONDS_MAX;
}

/** An image of an answer: where it is stored. */
type StoredImage = Pick<DeliveredImage, 'position' | 'format'>;

export function urlBody(
  signer: MediaSigner,
  generation: Generation,
  images: readonly StoredImage[],
  format: OutputFormat | null,
): string {
  const expires = answerExpirySeconds(generation);
  const data = images.map((image) => ({
    url: signer.urlOf(mediaNameOf(generation, image), expires, generation.mediaKeyId),
  }));
  return JSON.stringify(toImages(generation, data, format));
}

/**
 * The images themselves, as base64: no string of their size is made. Small ones that are in memory become one buffer, which
 * costs least; others are encoded piece by piece as the client takes them.
 */
export function base64Body(
  generation: Generation,
  images: readonly AnswerImage[],
  format: OutputFormat | null,
): Buffer | StreamedBody {
  const around = JSON.stringify(
    toImages(
      generation,
      images.map(() => ({ b64_json: '' })),
      format,
    ),
  ).split(EMPTY_IMAGE);
  const textLength = around.join(EMPTY_IMAGE).length;
  const length = images.reduce((sum, { bytes }) => sum + base64Length({ length: bytes }), textLength);
  const inMemory = images.flatMap(({ inMemory: image }) => image ?? []);
  if (inMemory.length === images.length && length <= WHOLE_BYTES_MAX) {
    return wholeBody(around, inMemory, length);
  }
  const stream = Readable.from(pieces(around, images), { objectMode: false, highWaterMark: 1 });
  return { bytes: length, stream };
}

/** An image of four megapixels as a JPEG. */
const WHOLE_BYTES_MAX = 4 * 1_048_576;

function wholeBody(around: readonly string[], images: readonly Buffer[], length: number): Buffer {
  const body = Buffer.allocUnsafe(length);
  let end = body.write(around[0] ?? '', 'latin1');
  images.forEach((image, index) => {
    end += body.write(EMPTY_IMAGE.slice(0, -1), end, 'latin1');
    end = writeBase64(body, end, image);
    end += body.write(`"${around[index + 1] ?? ''}`, end, 'latin1');
  });
  return body;
}

async function* pieces(around: readonly string[], images: readonly AnswerImage[]): AsyncGenerator<Buffer> {
  let text = around[0] ?? '';
  for (const [index, image] of images.entries()) {
    yield Buffer.from(text + EMPTY_IMAGE.slice(0, -1), 'latin1');
    yield* encodeBase64(image.read(), image.bytes);
    text = `"${around[index + 1] ?? ''}`;
  }
  yield Buffer.from(text, 'latin1');
}

const EMPTY_IMAGE = '"b64_json":""';

/**
 * Only members that OpenAI's schema knows: its `size` and `usage` allow no values that would be true here.
 *
 * @param format what all images are; null when they differ, or the call's answer never said.
 */
function toImages(
  { createdAtMs }: Generation,
  data: readonly object[],
  format: OutputFormat | null,
): Readonly<Record<string, unknown>> {
  const said = format === null ? {} : { output_format: format };
  return { created: Math.floor(createdAtMs / 1_000), data, ...said };
}
