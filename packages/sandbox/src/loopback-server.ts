import Fastify, { type FastifyInstance } from 'fastify';

/** Simulators serve this machine only, because any client that can reach them can invent payments. */
export const LOOPBACK_HOST = '127.0.0.1';

/** Receives one line per noteworthy event, in the shape of pino's `(fields, message)`. */
export type SandboxLog = (fields: Readonly<Record<string, unknown>>, message: string) => void;

export const noLog: SandboxLog = () => undefined;

/**
 * `forceCloseConnections` lets `close()` end at once: a client's idle keep-alive socket, or a request
 * that a fault keeps open, would otherwise keep the process running.
 */
export function createLoopbackServer(bodyLimitBytes: number): FastifyInstance {
  return Fastify({ logger: false, bodyLimit: bodyLimitBytes, forceCloseConnections: true });
}

/**
 * Listens on `port` (0 picks a free one) and answers the base URL, without a slash at its end.
 * Rejects with the system's error (`EADDRINUSE`) when the port is taken.
 */
export async function listenOnLoopback(app: FastifyInstance, port: number): Promise<string> {
  await app.listen({ host: LOOPBACK_HOST, port });
  const address = app.server.address();
  if (address === null || typeof address === 'string') throw new Error('the sandbox has no TCP address');
  return `http://${LOOPBACK_HOST}:${address.port}`;
}

/** Returns true for URLs on this machine; the simulators never send anything to another one. */
export function isLoopbackUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const isLoopback =
    url.hostname === 'localhost' || url.hostname === '[::1]' || /^127(\.[0-9]{1,3}){3}$/.test(url.hostname);
  return (url.protocol === 'http:' || url.protocol === 'https:') && isLoopback;
}
