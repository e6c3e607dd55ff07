import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { answerExpectation } from './client-error.js';
import { StalledPeers } from './stalled-peers.js';

/**
 * A client that has not sent its whole request by then is holding a socket, not using it. An edit of 32 MiB needs 5 Mbit/s;
 * until its key is recognised, nothing of a body is read beyond the socket's own buffer.
 */
export const REQUEST_TIMEOUT_MS = 60_000;
/**
 * Headers are at most 16 KiB, one or two packets. A connection that has sent none by then, not even a first byte, is closed.
 * Load balancers open a connection when they have a request for it.
 */
export const HEADERS_TIMEOUT_MS = 15_000;
/** How often Node looks for connections that are beyond those times; its default would add 30 seconds to each of them. */
export const TIMEOUT_CHECK_INTERVAL_MS = 5_000;
/** Longer than the idle time of the usual load balancers (60 s), so that they close first and never race us. */
export const KEEP_ALIVE_TIMEOUT_MS = 72_000;
/** So seldom is it logged that connections were refused: a flood of them must not become one of log lines. */
const DROPS_LOGGED_EVERY_MS = 10_000;

/**
 * Bounds how many connections are open, and answers what Node would answer without a body.
 *
 * @param connectionsMax beyond it a new connection is closed at once: its client sees a reset and may try another process.
 */
export function limitConnections(server: Server, connectionsMax: number, log: Logger): void {
  server.maxConnections = connectionsMax;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  let loggedAtMs = -Infinity;
  server.on('drop', () => {
    const nowMs = performance.now();
    if (nowMs - loggedAtMs < DROPS_LOGGED_EVERY_MS) return;
    loggedAtMs = nowMs;
    log.warn(
      { event: 'http.connections_refused', connectionsMax },
      'Too many connections are open; new ones are refused.',
    );
  });
  new StalledPeers(server);
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) =>
    answerExpectation(response),
  );
}
