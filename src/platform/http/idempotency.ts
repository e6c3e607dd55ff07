import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { InvalidRequestError } from '../errors/common.errors.js';

/** One to 255 visible ASCII characters, plain or as an RFC 8941 string in double quotes. */
const KEY_PATTERN = /^(?:"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255}))$/;

/** Returns the unquoted `Idempotency-Key`, or null when none was sent. Throws `InvalidRequestError` for a malformed one. */
export function parseIdempotencyKey(header: string | readonly string[] | undefined): string | null {
  if (header === undefined) return null;
  const match = typeof header === 'string' ? KEY_PATTERN.exec(header.trim()) : null;
  const key = match?.[1] ?? match?.[2];
  if (key === undefined) {
    throw new InvalidRequestError(
      'Idempotency-Key must be 1 to 255 visible ASCII characters.',
      'Idempotency-Key',
    );
  }
  return key;
}

/** `@IdempotencyKey() key: string | null` on a controller method. */
export const IdempotencyKey = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const request = context
    .switchToHttp()
    .getRequest<{ headers: Record<string, string | string[] | undefined> }>();
  return parseIdempotencyKey(request.headers['idempotency-key']);
});

/** The part of Fastify's reply that a controller may use. */
export type Reply = { status(code: number): unknown; header(name: string, value: string): unknown };

/** Sets the status: 201 for what this request created, 200 for what an earlier one did. Returns the view. */
export function withReplayStatus<View extends { readonly replayed: boolean }>(
  reply: Reply,
  view: View,
): View {
  reply.status(view.replayed ? 200 : 201);
  return view;
}
