import { createServer } from 'node:net';
import { EmbeddedPostgresUnavailableError } from './errors.js';

/**
 * It is below the ranges from which Linux (from 32768) and macOS (from 49152) take the local ports of connections.
 * Inside those ranges, a pool that keeps trying a dead server's port can be given that very port for its own end:
 * TCP then connects it to itself, and the server's restart finds the port taken.
 */
const FIRST_PORT = 20_000;
const PORTS = 12_000;
const ATTEMPTS_MAX = 50;
/** It is a prime, so that the steps visit every port. */
const STEP = 7_919;

/**
 * Returns a free loopback port, and the same one for the same seed while it is free, so that a database tool's saved
 * connection keeps working. Another program can still take it before the server opens it: the caller then tries again.
 */
export async function choosePort(seed: number): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const port = FIRST_PORT + ((seed + attempt * STEP) % PORTS);
    if (await isFree(port)) return port;
  }
  throw new EmbeddedPostgresUnavailableError(`no free port on 127.0.0.1 after ${ATTEMPTS_MAX} attempts`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
