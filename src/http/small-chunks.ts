import type { IncomingMessage, Server } from 'node:http';
import { type Answer, refuse } from './client-error.js';

/** What is read of a connection at once is rarely less: a packet is some 1,400 bytes. */
const SMALL_CHUNK_BYTES = 1_024;
/** A client that writes what it has, such as a line, or the ends of larger chunks, stays far below this. */
export const SMALL_CHUNKS_MAX = 10_000;

const IN_SMALL_CHUNKS: Answer = {
  status: '400 Bad Request',
  message:
    'The body comes in too many small chunks. Nothing was done. Send it in larger ones, or with a Content-Length.',
};

/**
 * Refuses a chunked body of very many small chunks. Each chunk is an event and a buffer of its own, whatever it holds: a megabyte
 * of single bytes takes seconds of CPU and hundreds of megabytes of memory, and no bound on bytes would notice. Bodies with a
 * `Content-Length` have no such frames; a packet for each byte costs their sender as much as us.
 */
export function refuseSmallChunks(server: Server): void {
  server.prependListener('request', (request: IncomingMessage) => {
    if (request.headers['transfer-encoding'] !== undefined) countSmallChunks(request);
  });
}

function countSmallChunks(request: IncomingMessage): void {
  let small = 0;
  const push = request.push.bind(request);
  request.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null || chunk.length >= SMALL_CHUNK_BYTES) return push(chunk, encoding);
    small += 1;
    if (small <= SMALL_CHUNKS_MAX) return push(chunk, encoding);
    // False: Node reads no more of the connection.
    if (small === SMALL_CHUNKS_MAX + 1) refuse(request.socket, IN_SMALL_CHUNKS);
    return false;
  };
}
