import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Settings } from '../platform/config/settings.js';

export class AddressInUseError extends Error {
  constructor(host: string, port: number, options?: ErrorOptions) {
    super(`${host}:${port} is in use by another process. Stop that one, or choose another PORT.`, options);
    this.name = 'AddressInUseError';
  }
}

export class AddressUnusableError extends Error {
  constructor(host: string, port: number, cause: unknown) {
    super(
      `This process cannot listen on ${host}:${port}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
    this.name = 'AddressUnusableError';
  }
}

/**
 * Returns the port that the service will listen on; the system chooses one for port 0. It is checked before anything is
 * started: the simulators need to know where to deliver, and a newcomer whose port is taken should learn it at once.
 *
 * @throws AddressInUseError, AddressUnusableError
 */
export async function chooseListenPort({ host, port }: Pick<Settings, 'host' | 'port'>): Promise<number> {
  const probe = createServer();
  try {
    probe.listen(port, host);
    await once(probe, 'listening');
    const address = probe.address();
    if (address === null || typeof address === 'string') throw new Error('the probe has no TCP address');
    return address.port;
  } catch (error) {
    throw toListenError(error, host, port);
  } finally {
    probe.close();
  }
}

export function toListenError(error: unknown, host: string, port: number): Error {
  // `instanceof Error` would not work here: under a test runner, system errors come from another realm.
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  return code === 'EADDRINUSE'
    ? new AddressInUseError(host, port, { cause: error })
    : new AddressUnusableError(host, port, error);
}
