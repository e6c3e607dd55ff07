import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import { Problem } from '../../../platform/errors/problem.js';

export class EditsBusyError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor() {
    super(
      'Too many reference images are being processed at the moment. Nothing was charged. Try again shortly.',
      {
        retryAfterSeconds: 2,
      },
    );
  }
}

export class InvalidImageError extends InvalidRequestError {
  /** @param param which image, as the client named it. */
  constructor(param: string, fault: string) {
    super(`The reference image ${param} ${fault}. Nothing was charged.`, param, 'invalid_image');
  }
}

export class TooMuchTextError extends InvalidRequestError {
  /** @param image how this media type sends an image. */
  constructor(bytesMax: number, image: string) {
    super(
      `More than ${bytesMax} bytes of the body do not belong to an image. Send an image as ${image}. Nothing was charged.`,
    );
  }
}

export function notAnImage(param: string): InvalidImageError {
  return new InvalidImageError(param, 'is not a PNG, JPEG or WebP');
}

/** The decoder's own message is not used, because it may repeat content of the file. */
export function damaged(param: string): InvalidImageError {
  return new InvalidImageError(param, 'is damaged, or an animation');
}

/** @param name `image` or `images`, by the kind of body. */
export function tooManyReferences(name: string, count: number, max: number): InvalidRequestError {
  return new InvalidRequestError(
    `The model takes at most ${max} reference image${max === 1 ? '' : 's'}, and ${count} were sent. Nothing was charged.`,
    name,
  );
}
