import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { InvalidRequestError } from '../../../platform/errors/common.errors.js';

/** One to 128 visible ASCII characters are enough for a project's name or a customer's own id, and cheap to group by. */
const TAG_PATTERN = /^[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?$/;
export const TAG_HEADER = 'x-coffer-tag';

/**
 * Returns the tag that usage is grouped by in addition to model and key, or null when none was sent. Throws `InvalidRequestError`
 * for a malformed tag.
 */
export function parseCallTag(header: string | readonly string[] | undefined): string | null {
  if (header === undefined || header === '') return null;
  if (typeof header === 'string' && TAG_PATTERN.test(header)) return header;
  throw new InvalidRequestError(
    `${TAG_HEADER} must be 1 to 128 visible ASCII characters. Nothing was charged.`,
    TAG_HEADER,
  );
}

/** `@CallTag() tag: string | null` on a controller method. */
export const CallTag = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const request = context
    .switchToHttp()
    .getRequest<{ headers: Record<string, string | string[] | undefined> }>();
  return parseCallTag(request.headers[TAG_HEADER]);
});
