import type { MicroUsd } from '../common/money.js';
import { URL_VALID_SECONDS, type MediaSigner } from './media/media-signer.js';
import { mediaNameOf } from './media/media-name.js';
import type { BillingMode, Generation } from './records/generation.js';

/** The answer of a paid call, ready to be sent. */
export type GenerationAnswer = {
  /** OpenAI's `ImagesResponse`, serialised. The same generation always has the same bytes. */
  readonly body: string;
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

export function urlBody(signer: MediaSigner, generation: Generation, positions: readonly number[]): string {
  const expires = answerExpirySeconds(generation);
  return serialise(
    generation,
    positions.map((position) => ({
      url: signer.urlOf(mediaNameOf(generation, position), expires, generation.mediaKeyId),
    })),
  );
}

export function base64Body(generation: Generation, images: readonly Buffer[]): string {
  return serialise(
    generation,
    images.map((image) => ({ b64_json: image.toString('base64') })),
  );
}

/** Only members that OpenAI's schema knows: its `size` and `usage` allow no values that would be true here. */
function serialise({ createdAtMs }: Generation, data: readonly object[]): string {
  return JSON.stringify({ created: Math.floor(createdAtMs / 1_000), data });
}
