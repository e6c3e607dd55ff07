import type { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import {
  BodyTooSlowError,
  MalformedBodyError,
  PayloadTooLargeError,
  UnsupportedMediaTypeError,
} from '../errors/common.errors.js';

/** Replaces the type that the client sent, so that no parser reads the body. */
const UNREAD_TYPE = 'application/x-coffer-unread';

/** The unread body of a route that reads it itself. */
export type UnreadBody = {
  readonly payload: Readable;
  /** The text that the client sent; empty when it sent none. */
  readonly contentType: string;
  /** `Content-Length`; null when the client did not send it. */
  readonly declaredBytes: number | null;
  /** The slowest pace at which the body may arrive; no limit when absent. */
  readonly pace?: BodyPace;
  /** It is called before a chunk is stored; an error that it throws ends the reading. */
  readonly onBytes?: (bytes: number) => void;
};

/** In each period of `ms`, at least `bytes` must arrive, or the end of the body. */
export type BodyPace = { readonly bytes: number; readonly ms: number };

/** The part of Fastify's request that has such a body. */
export type UnreadRequest = {
  readonly body: unknown;
  readonly raw: { readonly headers: Readonly<Record<string, string | string[] | undefined>> };
};

/**
 * Leaves the bodies of this route to its handler, because they may have many megabytes, which are counted against the memory of edits
 * while they are read. Call it before the routes are registered.
 */
export function leaveBodiesUnread(fastify: FastifyInstance, url: string): void {
  fastify.addContentTypeParser(UNREAD_TYPE, (request, payload, done) => {
    // Any client may send this type, to any route.
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

export function getUnreadBody({ body, raw }: UnreadRequest): UnreadBody {
  const { 'content-type': contentType, 'content-length': length } = raw.headers;
  return {
    payload: body as Readable,
    contentType: typeof contentType === 'string' ? contentType : '',
    declaredBytes: length === undefined ? null : Number(length),
  };
}

/**
 * Passes the body to `take` chunk by chunk, and resolves at its end. Throws `PayloadTooLargeError` beyond `bytesMax`, any error that
 * `take` or `onBytes` throws, `BodyTooSlowError` when it is slower than its pace, and `MalformedBodyError` when the client breaks off.
 * The rest of a refused body is read and discarded: if the connection were cut in the middle, the answer would not reach the client.
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
    // When a client disconnects, `close` reports it as well.
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
