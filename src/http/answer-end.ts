import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Of each connection, what has to be called when it ends before its answers do. */
const listeners = new WeakMap<Socket, Set<() => void>>();

/**
 * Calls `listener` once, as soon as the answer was sent whole or its connection has ended; at once when that has happened
 * already. Node does not emit `close` on a response that still waits behind an earlier one of the same connection, so the
 * connection is listened to as well.
 */
export function onAnswerEnd(response: ServerResponse, listener: () => void): void {
  const { socket } = response.req;
  if (response.closed || socket.destroyed) return listener();
  const ofSocket = listenersOf(socket);
  const end = (): void => {
    if (ofSocket.delete(end)) listener();
  };
  ofSocket.add(end);
  response.once('close', end);
}

function listenersOf(socket: Socket): Set<() => void> {
  const known = listeners.get(socket);
  if (known !== undefined) return known;
  const made = new Set<() => void>();
  listeners.set(socket, made);
  socket.once('close', () => {
    for (const end of [...made]) end();
  });
  return made;
}
