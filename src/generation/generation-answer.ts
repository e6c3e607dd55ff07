import type { MicroUsd } from '../common/money.js';
import { base64Length, writeBase64 } from './base64.js';
import { URL_VALID_SECONDS, type MediaSigner } from './media/media-signer.js';
import { mediaNameOf } from './media/media-name.js';
import type { OutputFormat } from './providers/image-provider.js';
import type { BillingMode, DeliveredImage, Generation } from './records/generation.js';

/** The answer of a paid call, ready to be sent. */
export type GenerationAnswer = {
  /** OpenAI's `ImagesResponse`, serialised. The same generation always has the same bytes. */
  readonly body: string | Buffer;
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

/** The images themselves, encoded into the answer's own bytes: no string of their size is made. */
export function base64Body(
  generation: Generation,
  images: readonly Buffer[],
  format: OutputFormat | null,
): Buffer {
  const around = JSON.stringify(
    toImages(
      generation,
      images.map(() => ({ b64_json: '' })),
      format,
    ),
  ).split(EMPTY_IMAGE);
  const textLength = around.join(EMPTY_IMAGE).length;
  const body = Buffer.allocUnsafe(images.reduce((sum, image) => sum + base64Length(image), textLength));
  let end = body.write(around[0] ?? '', 'latin1');
  images.forEach((image, index) => {
    end += body.write(EMPTY_IMAGE.slice(0, -1), end, 'latin1');
    end = writeBase64(body, end, image);
    end += body.write(`"${around[index + 1] ?? ''}`, end, 'latin1');
  });
  return body;
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
