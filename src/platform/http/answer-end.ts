import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

type Listeners = Set<() => void>;

/** Of each connection, what has to be called when it ends before its answers do: one for each of these answers. */
const ofConnections = new WeakMap<Socket, Listeners>();
/** Of each answer that is under way, who waits for its end. */
const ofAnswers = new WeakMap<ServerResponse, (() => void)[]>();

/**
 * Calls `listener` once, as soon as the answer was sent whole or its connection has ended; at once when that has happened
 * already. Node does not emit `close` on a response that still waits behind an earlier one of the same connection, so the
 * connection is listened to as well. However many wait for an answer, Node has one listener of it.
 */
export function onAnswerEnd(response: ServerResponse, listener: () => void): void {
  const { socket } = response.req;
  if (response.closed || socket.destroyed) return listener();
  const waiting = ofAnswers.get(response);
  if (waiting !== undefined) {
    waiting.push(listener);
    return;
  }
  const first = [listener];
  ofAnswers.set(response, first);
  const ofSocket = listenersOf(socket);
  const end = (): void => {
    if (!ofSocket.delete(end)) return;
    ofAnswers.delete(response);
    for (const each of first) each();
  };
  ofSocket.add(end);
  response.once('close', end);
}

function listenersOf(socket: Socket): Listeners {
  const known = ofConnections.get(socket);
  if (known !== undefined) return known;
  const made: Listeners = new Set();
  ofConnections.set(socket, made);
  socket.once('close', () => {
    for (const end of [...made]) end();
  });
  return made;
}
