import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { type Answer, refuse } from './client-error.js';

/** So many pieces any body may have: a client that writes what it has, such as a line, stays far below this. */
export const PIECES_MAX = 10_000;
/** And one more for so many bytes. Chunks of any size that clients use, cut in two wherever a packet ends, weigh several times as much. */
const BYTES_OF_A_PIECE = 128;
/** Twice the largest body that a route takes: whoever sends one to the wrong place, or without a key, reads why. */
export const BODY_BYTES_MAX = 64 * 1_048_576;

const UNBOUNDED: Answer = {
  status: '400 Bad Request',
  message:
    'The body comes in too many small chunks, or is larger than any route takes. Nothing was done. Send a smaller one, in larger chunks or with a Content-Length.',
};

/**
 * Bounds what a body costs that does not say how long it is, or says that it is very long, also the rest of one that was refused: a client
 * may read its answer only when it has sent everything, so the rest is read, but not without end.
 *
 * - Its bytes.
 * - Its pieces, against the bytes that they bring. Each piece that Node hands over, a chunk or a part of one that a packet or a read
 *   ended in, is an event and a buffer of its own, whatever it holds: a megabyte of single bytes takes seconds of CPU and hundreds of
 *   megabytes of memory. Bodies with a `Content-Length` have no such frames; a packet for each byte costs their sender as much as us.
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
    // Not its end either: what was left out would be missing in a body that looks whole.
    if (isRefused) return false;
    if (chunk === null) return push(chunk, encoding);
    pieces += 1;
    bytes += chunk.length;
    isRefused = bytes > BODY_BYTES_MAX || pieces > PIECES_MAX + bytes / BYTES_OF_A_PIECE;
    if (!isRefused) return push(chunk, encoding);
    refuse(request.socket, UNBOUNDED);
    // Node reads no more of the connection.
    return false;
  };
  // Of an answered request that nobody reads, Node would throw the rest away uncounted.
  response.prependListener('finish', () => {
    if (!request.complete) request.removeAllListeners('data').resume();
  });
}
