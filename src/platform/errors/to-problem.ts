import { HttpException } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import {
  InternalError,
  InvalidRequestError,
  MalformedBodyError,
  MalformedUrlError,
  PayloadTooLargeError,
  RouteNotFoundError,
  UnsupportedMediaTypeError,
} from './common.errors.js';
import { Problem } from './problem.js';

/** Fastify's codes for the faults that it finds before a handler runs. */
const FRAMEWORK_FAULTS: Readonly<Record<string, () => Problem>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new PayloadTooLargeError(),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => new MalformedBodyError(),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => new UnsupportedMediaTypeError(),
  FST_ERR_CTP_EMPTY_TYPE: () => new UnsupportedMediaTypeError(),
  FST_ERR_CTP_INVALID_JSON_BODY: () => new MalformedBodyError(),
  FST_ERR_BAD_URL: () => new MalformedUrlError(),
  FST_ERR_MAX_PARAM_LENGTH: () => new MalformedUrlError(),
};

/** Turns an error of a lower layer (a database driver's, say) into a problem; null when it does not know the error. */
export type ErrorTranslator = (error: unknown, request: FastifyRequest) => Problem | null;

/**
 * Turns any thrown value into a problem. An unexpected one becomes an `InternalError`, whose message reveals
 * nothing internal.
 */
export function toProblem(
  error: unknown,
  request: FastifyRequest,
  translators: readonly ErrorTranslator[] = [],
): Problem {
  if (error instanceof Problem) return error;
  const fault = FRAMEWORK_FAULTS[frameworkCode(error) ?? '']?.();
  if (fault) return fault;
  for (const translate of translators) {
    const problem = translate(error, request);
    if (problem) return problem;
  }
  if (error instanceof HttpException) return fromHttpException(error);
  return new InternalError(error);
}

/** Nest wraps what Fastify throws and keeps the original as the cause. */
function frameworkCode(error: unknown): string | null {
  const original = error instanceof HttpException ? error.cause : error;
  const code = original instanceof Error && 'code' in original ? original.code : null;
  return typeof code === 'string' && code.startsWith('FST_') ? code : null;
}

/** Only the framework throws these; Coffer's code throws problems. */
function fromHttpException(error: HttpException): Problem {
  switch (error.getStatus()) {
    case 404:
      return new RouteNotFoundError();
    case 413:
      return new PayloadTooLargeError();
    case 415:
      return new UnsupportedMediaTypeError();
    case 400:
      return new InvalidRequestError(error.message);
    default:
      return new InternalError(error);
  }
}
