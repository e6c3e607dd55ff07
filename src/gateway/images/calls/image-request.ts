import { hash } from 'node:crypto';
import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import { parseSize, type ImageSize } from './image-size.js';
import type { ImageModel } from './model-catalog.js';
import { invalid, oneOf, refuseOtherParameters, textOrNull, type Body } from './openai-parameters.js';
import type { OutputFormat, ReferenceImage } from '../providers/image-provider.js';

export type ResponseFormat = 'url' | 'b64_json';

/** Makes new images from text alone, or from reference images and text. */
export type Operation = 'generation' | 'edit';

/** A reference image as it is sent to a provider. It may be smaller than the one that the customer sent. */
export type SentReference = ReferenceImage & {
  /** The hash of the bytes that the customer sent, in lower-case hex. Two calls with the same references have the same hashes. */
  readonly sentSha256: string;
};

/** A valid call of `POST /v1/images/generations` or `/v1/images/edits`. */
export type ImageRequest = {
  readonly operation: Operation;
  readonly model: ImageModel;
  readonly prompt: string;
  /** OpenAI's `n`. */
  readonly images: number;
  readonly size: ImageSize;
  readonly responseFormat: ResponseFormat;
  /** Null when the call names no format, and the image is delivered as its provider makes it. */
  readonly outputFormat: OutputFormat | null;
  readonly moderation: 'auto' | 'low';
  /** OpenAI's `user`: the end user for whom the customer makes the image. It is kept for tracing abuse. */
  readonly endUser: string | null;
  /** The reference images of an edit in the order in which they were sent; empty for a generation. */
  readonly references: readonly SentReference[];
};

/** OpenAI's own bounds. */
export const IMAGES_MAX = 10;
export const PROMPT_CHARS_MAX = 32_000;
/** OpenAI sets no limit. Ids and hashes of ids fit. */
export const END_USER_CHARS_MAX = 512;

/** Finds models. `require` throws `ModelNotFoundError` (404). */
export interface ModelLookup {
  require(id: string): ImageModel;
}

/**
 * Whether a call accepts the answer of an earlier call with the same fingerprint, judged by the formats that both named. A call
 * that names no format accepts any.
 */
export function acceptsFormat(asked: OutputFormat | null, earlier: OutputFormat | null): boolean {
  return asked === null || asked === earlier;
}

/** The parameters that both routes have in common. */
export type CommonParameters = Omit<ImageRequest, 'operation' | 'size' | 'references'>;

/**
 * Reads an OpenAI body. Pure. Throws `InvalidRequestError` naming the first wrong parameter in `param`, and
 * `ModelNotFoundError` (404).
 */
export function parseImageRequest(body: unknown, models: ModelLookup): ImageRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new InvalidRequestError('The body must be a JSON object. Nothing was charged.');
  }
  const members = body as Body;
  const common = parseCommon(members, 'generation', models);
  const size = parseSize(textOrNull(members, 'size'), common.model.size);
  return { ...common, operation: 'generation', size, references: [] };
}

/** Throws as `parseImageRequest` does. */
export function parseCommon(members: Body, operation: Operation, models: ModelLookup): CommonParameters {
  refuseOtherParameters(members, operation);
  return {
    model: parseModel(textOrNull(members, 'model'), models),
    prompt: parsePrompt(textOrNull(members, 'prompt')),
    images: parseCount(members['n'] ?? null),
    responseFormat: oneOf(members, 'response_format', ['url', 'b64_json'], 'url'),
    outputFormat: oneOf(members, 'output_format', ['png', 'jpeg', 'webp'], null),
    moderation: oneOf(members, 'moderation', ['auto', 'low'], 'auto'),
    endUser: parseEndUser(textOrNull(members, 'user')),
  };
}

/** OpenAI's default is a model of its own, so there is no sensible default here. */
function parseModel(id: string | null, models: ModelLookup): ImageModel {
  if (id === null || id === '') throw invalid('model', 'is required');
  return models.require(id);
}

function parsePrompt(prompt: string | null): string {
  if (prompt === null || prompt.trim() === '') throw invalid('prompt', 'is required and must not be blank');
  if (prompt.length > PROMPT_CHARS_MAX) {
    throw invalid('prompt', `must be at most ${PROMPT_CHARS_MAX} characters long`);
  }
  return prompt;
}

function parseCount(count: unknown): number {
  if (count === null) return 1;
  if (!Number.isSafeInteger(count) || (count as number) < 1) {
    throw invalid('n', `must be a whole number from 1 to ${IMAGES_MAX}`);
  }
  if ((count as number) > IMAGES_MAX) {
    throw new InvalidRequestError(
      `n is at most ${IMAGES_MAX}: send several calls for more. Nothing was charged.`,
      'n',
      'too_many_images',
    );
  }
  return count as number;
}

function parseEndUser(user: string | null): string | null {
  if (user === null || user === '') return null;
  // Postgres stores no NUL.
  if (user.length > END_USER_CHARS_MAX || user.includes('\0')) {
    throw invalid('user', `must be at most ${END_USER_CHARS_MAX} characters long, without NUL`);
  }
  return user;
}

/**
 * Returns the fingerprint by which two calls are recognised as the same call, as lower-case hex of SHA-256. It covers every
 * parameter after defaults are applied, so that `"n": null` and no `n` are equal; the prompt cannot be read back from it. The
 * fingerprint of a generation must never change, because after an upgrade it is compared with those of earlier calls.
 */
export function toFingerprint(request: ImageRequest): string {
  return hash(
    'sha256',
    JSON.stringify([
      request.model.id,
      request.prompt,
      request.images,
      request.size.width,
      request.size.height,
      request.responseFormat,
      // No format used to mean PNG, and fingerprints must not change. `acceptsFormat` distinguishes the two.
      request.outputFormat ?? 'png',
      request.moderation,
      request.endUser,
      ...(request.operation === 'edit'
        ? ['edit', ...request.references.map(({ sentSha256 }) => sentSha256)]
        : []),
    ]),
    'hex',
  );
}
