import type { Server } from 'node:http';
import { connect, type Socket } from 'node:net';

/** A client of raw bytes that never ends its side of the connection by itself. */
export class Peer {
  readonly socket: Socket;
  received = '';
  closed = false;

  /** @param localAddress where it comes from. Linux has all of 127.0.0.0/8, macOS only what was added to its loopback. */
  constructor(url: string, bytes: string, localAddress = '127.0.0.1') {
    const { port, hostname } = new URL(url);
    this.socket = connect({ port: Number(port), host: hostname, localAddress, allowHalfOpen: true }, () => {
      if (bytes !== '') this.socket.write(bytes);
    });
    this.socket.on('data', (chunk: Buffer) => (this.received += chunk.toString()));
    // Only the other side has ended: this one never does.
    this.socket.on('end', () => (this.closed = true));
    this.socket.on('error', () => (this.closed = true));
  }
}

export function countConnections(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}
