import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { boundConnections, type ConnectionBounds } from './bounded-connections.js';
import { answerExpectation } from './client-error.js';
import { trackAnswers } from './last-answers.js';
import { boundBodies } from './bounded-bodies.js';
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
/** At most so often it is logged that connections are displaced or refused: a flood of them must not become one of log lines. */
const FULL_LOGGED_EVERY_MS = 10_000;
const FULL_MESSAGES = {
  displaced: 'Idle connections are closed to make room for new ones.',
  refused: 'New connections are refused: too many are open, or too many of this address.',
} as const;

/**
 * Bounds how many connections are open, and answers what Node would answer without a body.
 *
 * @param bounds a connection that is refused is closed at once: its client sees a reset and may try another process.
 */
export function limitConnections(
  server: Server,
  { connectionsMax, trustedProxies, clock }: Omit<ConnectionBounds, 'onFull'>,
  log: Logger,
): void {
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  const loggedAtMs = { displaced: -Infinity, refused: -Infinity };
  boundConnections(server, {
    connectionsMax,
    trustedProxies,
    clock,
    onFull: (what, address) => {
      const nowMs = performance.now();
      if (nowMs - loggedAtMs[what] < FULL_LOGGED_EVERY_MS) return;
      loggedAtMs[what] = nowMs;
      log.warn({ event: `http.connections_${what}`, connectionsMax, address }, FULL_MESSAGES[what]);
    },
  });
  new StalledPeers(server);
  boundBodies(server);
  trackAnswers(server);
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) =>
    answerExpectation(response),
  );
}
