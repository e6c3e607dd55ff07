import type { Settings } from './settings.js';

/** Returns the address at which a client on this machine reaches the service, without a slash at its end. */
export function localUrl({ host, port }: Pick<Settings, 'host' | 'port'>): string {
  // An address that means "every interface" is no address to connect to.
  if (host === '0.0.0.0' || host === '::') return `http://127.0.0.1:${port}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
