import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { onAnswerEnd } from './answer-end.js';

/** Of each connection, the answer to its newest request. Answers are sent in the order of their requests, so it is the last one. */
const lastAnswers = new WeakMap<Socket, ServerResponse>();
const closing = new WeakSet<Socket>();

/** How long a client may take to read the last answer and to end its side. */
const LINGER_MS = 1_000;
/** What is read and thrown away of a connection that is being closed: more than any route takes. Beyond it, nothing is read any more. */
const DISCARDED_BYTES_MAX = 64 * 1_048_576;

export function trackAnswers(server: Server): void {
  const track = ({ socket }: IncomingMessage, response: ServerResponse): void => {
    lastAnswers.set(socket, response);
    response.once('finish', () => {
      // An idle connection keeps nothing of its last request.
      if (response.req.complete && lastAnswers.get(socket) === response) lastAnswers.delete(socket);
    });
  };
  server.prependListener('request', track);
  server.prependListener('checkExpectation', track);
}

/** Undefined once it was sent and its request has come as a whole: what follows is another request. */
function findLastAnswer(socket: Socket): ServerResponse | undefined {
  const last = lastAnswers.get(socket);
  return last?.closed === true && last.req.complete ? undefined : last;
}

export function isClosing(socket: Socket): boolean {
  return closing.has(socket);
}

/**
 * Reads no further request of the connection, and closes it once every answer that is under way was sent, whole and with nothing after
 * it. What else arrives is thrown away: closed with unread bytes, the connection would be reset, and a client that
 * is still sending could not read what it was answered.
 *
 * @param refusal an answer, written in the turn of what gets no other one: a request whose body breaks off, or bytes that are no request.
 * A refused request never gets whole, and its handler learns as the connection ends that its client is gone.
 */
export function closeConnection(socket: Socket, refusal: string): void {
  if (closing.has(socket)) return;
  closing.add(socket);
  const last = findLastAnswer(socket);
  discardInput(socket);
  // What Node calls after an answer with `connection: close`: it would close at once.
  socket.destroySoon = () => end(socket);
  if (last === undefined) return end(socket, refusal);
  const isToAnswer = (): boolean => !last.req.complete && !last.headersSent;
  const close = (): void => {
    if (isToAnswer()) return end(socket, refusal);
    if (!last.headersSent) last.shouldKeepAlive = false;
    onAnswerEnd(last, () => end(socket));
  };
  // Outdated earlier answers its turn comes when it is given the socket.
  if (isToAnswer() && last.socket === null) last.once('socket', close);
  else close();
}

/** Without its listener Node's parser gets no byte any more. */
function discardInput(socket: Socket): void {
  let bytes = 0;
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DISCARDED_BYTES_MAX) socket.pause();
  });
  socket.resume();
}

/** Ended by us alone it would stay open until the client ends it as well, which nobody can make it do. */
function end(socket: Socket, refusal = ''): void {
  if (socket.writableEnded) return;
  socket.end(refusal);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
