import type { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import {
  BodyTooSlowError,
  MalformedBodyError,
  PayloadTooLargeError,
  UnsupportedMediaTypeError,
} from '../errors/common.errors.js';

/** Takes the place of whatever type the client named, so that no parser reads the body. */
const UNREAD_TYPE = 'application/x-coffer-unread';

/** A body as it comes from the socket, of a route that reads it itself. */
export type UnreadBody = {
  readonly payload: Readable;
  /** As the client wrote it; empty when it named none. */
  readonly contentType: string;
  /** `Content-Length`; null when the client does not say. */
  readonly declaredBytes: number | null;
  /** The pace at which the body has to come; any pace when absent. */
  readonly pace?: BodyPace;
  /** Called before a chunk is kept; what it throws ends the body. */
  readonly onBytes?: (bytes: number) => void;
};

/** Within each `ms` at least `bytes` have to come, or the end. */
export type BodyPace = { readonly bytes: number; readonly ms: number };

/** The little of Fastify's request that such a body is found in. */
export type UnreadRequest = {
  readonly body: unknown;
  readonly raw: { readonly headers: Readonly<Record<string, string | string[] | undefined>> };
};

/**
 * Leaves the bodies of this route to its handler, where megabytes are allowed: they count against the memory of edits while
 * they are read. Call it before the routes are registered.
 */
export function leaveBodiesUnread(fastify: FastifyInstance, url: string): void {
  fastify.addContentTypeParser(UNREAD_TYPE, (request, payload, done) => {
    // Anybody may name this type, on any route.
    if (request.routeOptions.url === url) done(null, payload);
    else done(new UnsupportedMediaTypeError(), undefined);
  });
  fastify.addHook('onRoute', (route) => {
    if (route.url !== url) return;
    route.onRequest = [
      ...[route.onRequest ?? []].flat(),
      (request, _reply, done) => {
        request.headers = { 'content-type': UNREAD_TYPE };
        done();
      },
    ];
  });
}

export function unreadBodyOf({ body, raw }: UnreadRequest): UnreadBody {
  const { 'content-type': contentType, 'content-length': length } = raw.headers;
  return {
    payload: body as Readable,
    contentType: typeof contentType === 'string' ? contentType : '',
    declaredBytes: length === undefined ? null : Number(length),
  };
}

/**
 * Hands over the body chunk by chunk, and resolves at its end. Throws `PayloadTooLargeError` beyond `bytesMax`, whatever
 * `take` or `onBytes` throws, `BodyTooSlowError` when it falls behind its pace, and `MalformedBodyError` when the client breaks
 * off. What is left of a refused body is let through unread: an answer on a connection that was cut in the middle would not reach the client.
 */
export function readChunks(
  { payload, declaredBytes, pace, onBytes }: UnreadBody,
  bytesMax: number,
  take: (chunk: Buffer) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let paceTimer: NodeJS.Timeout | undefined;
    const end = (error?: Error): void => {
      clearInterval(paceTimer);
      payload.off('data', onData).off('end', end).off('close', onClose);
      payload.resume();
      if (error === undefined) resolve();
      else reject(error);
    };
    const onClose = (): void => end(new MalformedBodyError('whole'));
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      try {
        if (bytes > bytesMax) throw new PayloadTooLargeError();
        onBytes?.(chunk.length);
        take(chunk);
      } catch (error) {
        end(error as Error);
      }
    };
    // A client that goes away is heard of by `close` as well.
    payload.on('error', () => undefined);
    if (payload.destroyed) return onClose();
    if ((declaredBytes ?? 0) > bytesMax) return end(new PayloadTooLargeError());
    if (pace !== undefined) {
      let bytesBefore = 0;
      const check = (): void => {
        if (bytes - bytesBefore < pace.bytes) end(new BodyTooSlowError());
        bytesBefore = bytes;
      };
      paceTimer = setInterval(check, pace.ms);
    }
    payload.on('data', onData).once('end', end).once('close', onClose);
  });
}
