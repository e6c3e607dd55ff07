import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyRequest, FastifyInstance } from 'fastify';
import {
  BodyTooComplexError,
  MalformedBodyError,
  UnsupportedMediaTypeError,
  BodyTooSlowError,
  PayloadTooLargeError,
} from '../errors/common.errors.js';
import { type Answer, refuse } from './connections.js';

/**
 * The largest body of most routes: 1 MiB is several times as much as a batch of 1,000 debits, or as Stripe's largest event. A route
 * that accepts more registers its own content type parser.
 */
export const BODY_LIMIT_BYTES = 1_048_576;

type Done = (error: Error | null, body?: unknown) => void;

/**
 * Accepts JSON only: a body of another type is refused with 415 and reaches no handler. Webhooks verify a signature over the
 * received bytes, so these are kept in `request.rawBody`.
 */
export function acceptJsonBodies(app: NestFastifyApplication): void {
  app.getHttpAdapter().getInstance().removeAllContentTypeParsers();
  app.useBodyParser('application/json', { bodyLimit: BODY_LIMIT_BYTES }, parseJson);
  for (const type of FORM_TYPES) app.useBodyParser(type, { bodyLimit: FORM_LIMIT_BYTES }, discardForm);
}

/** The routes of the buttons on our own pages, and of the one-click request of mail programs (RFC 8058). */
const FORM_ROUTES = '/alerts/';
/** Browsers send the first one, mail programs either of them: RFC 8058 prefers multipart. */
const FORM_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data'];
/** The longest body that is sent is `List-Unsubscribe=One-Click`. */
const FORM_LIMIT_BYTES = 1_024;

/** Everything that such a form needs is in its URL, so its body reaches no handler. */
function discardForm(request: FastifyRequest, _body: unknown, done: Done): void {
  if (request.url.startsWith(FORM_ROUTES)) done(null, undefined);
  else done(new UnsupportedMediaTypeError());
}

function parseJson(_request: FastifyRequest, body: unknown, done: Done): void {
  let value: unknown;
  try {
    value = readJson(body as Buffer);
  } catch (error) {
    return done(error as Error);
  }
  done(null, value);
}

/**
 * Returns undefined for an empty body: many clients send the type even without a body.
 *
 * @throws MalformedBodyError, BodyTooComplexError
 */
export function readJson(body: Buffer): unknown {
  refuseComplexJson(body);
  const text = body.toString();
  if (text === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new MalformedBodyError();
  }
  // A `__proto__` member is a plain property here, but a copy would turn it into the prototype.
  if (MAY_NAME_PROTO.some((hint) => text.includes(hint)) && hasProtoMember(value))
    throw new MalformedBodyError();
  return value;
}

/** Written literally or with escapes. Checking every member of every body would be slower. */
const MAY_NAME_PROTO = ['__proto__', '\\u'];

function hasProtoMember(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProtoMember);
}

/** The deepest body that a route accepts has three levels, and the deepest event of Stripe about ten. */
export const JSON_DEPTH_MAX = 32;
/**
 * A batch of 1,000 debits in which each has every possible member has 8,000. All later work (parsing, instantiation, validation)
 * grows with this number, so this limits all of it.
 */
export const JSON_MEMBERS_MAX = 10_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Refuses JSON that is nested too deeply, or has too many members and items, before it is parsed: `JSON.parse` has no limits, and
 * a reviver sees the values only when all of them exist. It reads the bytes once, up to the limit. It does not check the syntax: the
 * parser decides whether this is JSON at all.
 *
 * @returns the number of members and items, including the lists and objects themselves.
 * @throws BodyTooComplexError
 */
export function refuseComplexJson(bytes: Uint8Array): number {
  let depth = 0;
  let members = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    switch (bytes[at]) {
      case QUOTE:
        at = findEndOfString(bytes, at);
        continue;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth += 1;
        if (depth > JSON_DEPTH_MAX)
          throw new BodyTooComplexError(`is nested deeper than ${JSON_DEPTH_MAX} levels`);
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        depth -= 1;
        continue;
      case COMMA:
        break;
      default:
        continue;
    }
    members += 1;
    if (members > JSON_MEMBERS_MAX)
      throw new BodyTooComplexError(`has more than ${JSON_MEMBERS_MAX} members`);
  }
  return members;
}

/** Returns where the string that begins at `start` ends, or the end of all bytes when it does not end. */
function findEndOfString(bytes: Uint8Array, start: number): number {
  // Most strings are short and without escapes, but an image in base64 has millions of characters, which `indexOf` skips fast.
  for (let end = bytes.indexOf(QUOTE, start + 1); end !== -1; end = bytes.indexOf(QUOTE, end + 1)) {
    let backslashes = 0;
    while (bytes[end - 1 - backslashes] === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return bytes.length;
}

/** Every body may have this many pieces; a client that writes a body line by line sends far fewer. */
export const PIECES_MAX = 10_000;
/** It may have one more for each of this many bytes. Clients use chunks of several times this size, even when packets cut each in two. */
const BYTES_PER_PIECE = 128;
/** Twice the largest body that any route accepts: a client that sends one to the wrong route, or without a key, can read the reason. */
export const BODY_BYTES_MAX = 64 * 1_048_576;

const UNBOUNDED: Answer = {
  status: '400 Bad Request',
  message:
    'The body comes in too many small chunks, or is larger than any route accepts. Nothing was done. Send a smaller one, in larger chunks or with a Content-Length.',
};

/**
 * Limits the cost of bodies that announce no length, or a very large one. This includes the rest of a refused body: some clients read
 * their answer only when they have sent everything, so the rest is read, but not without end. There are two limits:
 *
 * - The number of bytes.
 * - The number of pieces, in relation to the bytes. Node delivers each chunk, or each part of one, as an event with a buffer of its own,
 *   however small it is: a megabyte of single bytes takes seconds of CPU and hundreds of megabytes of memory. Bodies with a
 *   `Content-Length` have no chunks; sending them byte by byte costs the client as much as this service.
 */
export function boundBodies(server: Server): void {
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const { 'transfer-encoding': encoding, 'content-length': length } = request.headers;
    if (encoding !== undefined || Number(length) > BODY_BYTES_MAX) boundBody(request, response);
  });
}

function boundBody(request: IncomingMessage, response: ServerResponse): void {
  let pieces = 0;
  let bytes = 0;
  let isRefused = false;
  const push = request.push.bind(request);
  request.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    // The end of the body is not passed on either: a body with missing parts must not look complete.
    if (isRefused) return false;
    if (chunk === null) return push(chunk, encoding);
    pieces += 1;
    bytes += chunk.length;
    isRefused = bytes > BODY_BYTES_MAX || pieces > PIECES_MAX + bytes / BYTES_PER_PIECE;
    if (!isRefused) return push(chunk, encoding);
    refuse(request.socket, UNBOUNDED);
    // With this result, Node reads no more of the connection.
    return false;
  };
  // Node would discard the rest of an answered request without counting it.
  response.prependListener('finish', () => {
    if (!request.complete) request.removeAllListeners('data').resume();
  });
}

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
