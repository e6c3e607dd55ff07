import { Readable } from 'node:stream';
import { Inject, Injectable } from '@nestjs/common';
import type { MicroUsd } from '../../../platform/common/money.js';
import {
  URL_VALID_SECONDS,
  MediaSigner,
  toMediaName,
  MEDIA_STORE,
  type MediaStore,
} from '../media/media-store.js';
import type { OutputFormat } from '../providers/image-provider.js';
import { base64Length, encodeBase64, writeBase64 } from './base64.js';
import type { BillingMode, DeliveredImage, Generation, GenerationKey } from './records/generation.js';

/** A body that is made while it is sent. A failure closes the connection before `bytes` are sent, so no client takes the part for the whole. */
export type StreamedBody = { readonly bytes: number; readonly stream: Readable };

export type AnswerBody = string | Buffer | StreamedBody;

/** The answer of a call, ready to be sent. */
export type GenerationAnswer = {
  /** OpenAI's `ImagesResponse`, serialised. The same generation always has the same bytes. */
  readonly body: AnswerBody;
  readonly generationId: string;
  readonly billingMode: BillingMode;
  /** The BYOK call that was refused and that this call replaces; null for any other call. */
  readonly fellBackFrom: string | null;
  readonly chargedMicros: MicroUsd;
  /** Null when no wallet is involved, and on a replay. */
  readonly availableMicros: MicroUsd | null;
  readonly replayed: boolean;
};

/** No call takes longer than this. It is added because the URLs must work for a whole hour after the answer. */
const CALL_SECONDS_MAX = 120;

/**
 * Returns when the URLs in a call's answer expire. This depends on the start of the call alone, so that any process can repeat
 * the answer byte for byte, even after a crash.
 */
export function answerExpirySeconds({ createdAtMs }: Generation): number {
  return Math.floor(createdAtMs / 1_000) + URL_VALID_SECONDS + CALL_SECONDS_MAX;
}

/** The parts of an image that name its file in the store. */
type StoredImage = Pick<DeliveredImage, 'position' | 'format'>;

export function urlBody(
  signer: MediaSigner,
  generation: Generation,
  images: readonly StoredImage[],
  format: OutputFormat | null,
): string {
  const expires = answerExpirySeconds(generation);
  const data = images.map((image) => ({
    url: signer.signUrl(toMediaName(generation, image), expires, generation.mediaKeyId),
  }));
  return JSON.stringify(toImages(generation, data, format));
}

/**
 * Returns a body with the images themselves as base64, without making a string of their size. Small images that are in memory
 * become one buffer, which is cheapest; others are encoded piece by piece while the client reads.
 */
export function base64Body(
  generation: Generation,
  images: readonly AnswerImage[],
  format: OutputFormat | null,
): Buffer | StreamedBody {
  const textAround = JSON.stringify(
    toImages(
      generation,
      images.map(() => ({ b64_json: '' })),
      format,
    ),
  ).split(EMPTY_IMAGE);
  const textLength = textAround.join(EMPTY_IMAGE).length;
  const length = images.reduce((sum, { bytes }) => sum + base64Length({ length: bytes }), textLength);
  const inMemory = images.flatMap(({ inMemory: image }) => image ?? []);
  if (inMemory.length === images.length && length <= WHOLE_BYTES_MAX) {
    return wholeBody(textAround, inMemory, length);
  }
  const stream = Readable.from(pieces(textAround, images), { objectMode: false, highWaterMark: 1 });
  return { bytes: length, stream };
}

/** An image of four megapixels as a JPEG. */
const WHOLE_BYTES_MAX = 4 * 1_048_576;

function wholeBody(textAround: readonly string[], images: readonly Buffer[], length: number): Buffer {
  const body = Buffer.allocUnsafe(length);
  let end = body.write(textAround[0] ?? '', 'latin1');
  images.forEach((image, index) => {
    end += body.write(EMPTY_IMAGE.slice(0, -1), end, 'latin1');
    end = writeBase64(body, end, image);
    end += body.write(`"${textAround[index + 1] ?? ''}`, end, 'latin1');
  });
  return body;
}

async function* pieces(
  textAround: readonly string[],
  images: readonly AnswerImage[],
): AsyncGenerator<Buffer> {
  let text = textAround[0] ?? '';
  for (const [index, image] of images.entries()) {
    yield Buffer.from(text + EMPTY_IMAGE.slice(0, -1), 'latin1');
    yield* encodeBase64(image.read(), image.bytes);
    text = `"${textAround[index + 1] ?? ''}`;
  }
  yield Buffer.from(text, 'latin1');
}

const EMPTY_IMAGE = '"b64_json":""';

/**
 * Uses only members of OpenAI's schema. `size` and `usage` are left out, because the values that they allow would not be true here.
 *
 * @param format the format of all images; null when they differ, or when the first answer of this call did not name it.
 */
function toImages(
  { createdAtMs }: Generation,
  data: readonly object[],
  format: OutputFormat | null,
): Readonly<Record<string, unknown>> {
  const outputFormat = format === null ? {} : { output_format: format };
  return { created: Math.floor(createdAtMs / 1_000), data, ...outputFormat };
}

/** `image` is the image itself when it is in memory. When it is null, the image is read from the store and has the length `bytes`. */
type ImageToAnswer = DeliveredImage & { readonly image: Buffer | null };

/** Builds the bodies of answers, which hold either the URLs of the images or the images themselves. */
@Injectable()
export class AnswerBodies {
  constructor(
    private readonly signer: MediaSigner,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
  ) {}

  /** @param format the format of all images; null when they differ, or when the first answer of this call did not name it. */
  make(generation: Generation, images: readonly ImageToAnswer[], format: OutputFormat | null): AnswerBody {
    if (generation.responseFormat === 'url') return urlBody(this.signer, generation, images, format);
    const toAnswerImage = ({ image, ...stored }: ImageToAnswer): AnswerImage =>
      image === null ? imageInStore(this.media, generation, stored) : imageInMemory(image);
    return base64Body(generation, images.map(toAnswerImage), format);
  }
}

/** An image of an answer, which is either in memory or in the store. */
export type AnswerImage = {
  readonly bytes: number;
  /** Null when the image is read from the store while the answer is sent. */
  readonly inMemory: Buffer | null;
  /** Reads the bytes of the image in chunks of any size. */
  readonly read: () => AsyncIterable<Buffer> | Iterable<Buffer>;
};

export function imageInMemory(image: Buffer): AnswerImage {
  return { bytes: image.length, inMemory: image, read: () => [image] };
}

/**
 * `image.bytes` must be its length in the store. `read` throws when the store no longer has the image, or has one of another
 * length under its name.
 */
export function imageInStore(
  media: MediaStore,
  generation: Pick<GenerationKey, 'id'>,
  image: Pick<DeliveredImage, 'position' | 'format' | 'bytes'>,
): AnswerImage {
  return { bytes: image.bytes, inMemory: null, read: () => readStored(media, generation, image) };
}

async function* readStored(
  media: MediaStore,
  generation: Pick<GenerationKey, 'id'>,
  image: Pick<DeliveredImage, 'position' | 'format' | 'bytes'>,
): AsyncGenerator<Buffer> {
  const found = await media.open(toMediaName(generation, image));
  if (found === null) throw new Error('a stored image is gone');
  try {
    if (found.bytes !== image.bytes) throw new Error('a stored image is not as long as it was');
    yield* found.stream as AsyncIterable<Buffer>;
  } finally {
    found.stream.destroy();
  }
}
