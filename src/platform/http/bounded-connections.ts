import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { BlockList, isIP, isIPv6, type Socket } from 'node:net';
import { addressGroup } from '../common/address-group.js';
import type { MonotonicClock } from '../common/clock.js';
import { ConnectionShares, type Owner, type SharedConnection } from './connection-shares.js';

export type ConnectionBounds = {
  readonly connectionsMax: number;
  /** Addresses and CIDR blocks of proxies, each of which may use all connections. */
  readonly trustedProxies: readonly string[];
  readonly clock: MonotonicClock;
  /** What happened to make room, or for want of it, and the address (IPv6: its /64) of the new connection. */
  readonly onFull?: (what: 'displaced' | 'refused', address: string) => void;
};

/**
 * Bounds how many connections are open, and shares them between the addresses that they come from. One that is refused is closed
 * at once, as Node does with `maxConnections`, which knows neither addresses nor which connections are idle.
 */
export function boundConnections(server: Server, bounds: ConnectionBounds): void {
  const shares = new ConnectionShares<Socket>(bounds.connectionsMax);
  const connections = new WeakMap<Socket, SharedConnection<Socket>>();
  const trusted = toBlockList(bounds.trustedProxies);
  server.on('connection', (socket: Socket) => {
    const owner = toOwner(socket.remoteAddress ?? '', trusted);
    const { connection, displaced } = shares.admit(socket, owner, bounds.clock.monotonicMs());
    for (const idle of displaced) idle.destroy();
    if (displaced.length > 0) bounds.onFull?.('displaced', owner.name);
    if (connection === null) {
      socket.destroy();
      bounds.onFull?.('refused', owner.name);
      return;
    }
    connections.set(socket, connection);
    socket.once('close', () => shares.close(connection));
  });
  // Before the handler runs: a connection is never idle while it does.
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const connection = connections.get(request.socket);
    if (connection === undefined) return;
    shares.requestBegins(connection);
    response.once('close', () => shares.requestEnds(connection));
  });
}

function toOwner(address: string, trusted: BlockList): Owner {
  // A peer that is gone already has no address.
  const isTrusted = isIP(address) !== 0 && trusted.check(address, familyOf(address));
  return { name: isTrusted ? address : addressGroup(address), isTrusted };
}

function toBlockList(addresses: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of addresses) {
    const [address = '', bits] = entry.split('/');
    if (bits === undefined) list.addAddress(address, familyOf(address));
    else list.addSubnet(address, Number(bits), familyOf(address));
  }
  return list;
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4';
}
