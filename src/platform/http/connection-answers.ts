import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { newId } from '../common/ids.js';

/** The error of Node's parser for bytes that it cannot read. There is no request then, only a socket to answer on. */
type ClientError = Error & { readonly code?: string };

export type Answer = { readonly status: string; readonly message: string };

const HEADERS_TOO_LARGE: Answer = {
  status: '431 Request Header Fields Too Large',
  message: 'The request headers are too large.',
};
const TOO_SLOW: Answer = { status: '408 Request Timeout', message: 'The request was not sent in time.' };
const MALFORMED: Answer = { status: '400 Bad Request', message: 'The request is not well-formed HTTP.' };

/**
 * Answers bytes that are not a request, or a request that does not arrive completely. Every request gets exactly one answer: nothing is
 * written after the answer to a request whose body breaks off. Bytes that follow a complete request neither replace its answer, which
 * may say what was charged, nor are answered in the middle of it.
 */
export function answerClientError(error: ClientError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || isClosing(socket)) return;
  // A client that has sent no byte has asked for nothing, and would take an answer for the one to a later request.
  if (!socket.writable || socket.bytesRead === 0) {
    socket.destroy();
    return;
  }
  refuse(socket, chooseAnswer(error.code));
}

/** `Expect` has one valid value, `100-continue` (RFC 9110, 10.1.1). By default, Node refuses any other without a body. */
export function answerExpectation(response: ServerResponse): void {
  const { headers, body } = render('The only expectation that is met is 100-continue.');
  response.writeHead(417, headers).end(body);
}

/** Answers the request that is arriving, after the answers to earlier requests and only if it has none yet, and closes the connection. */
export function refuse(socket: Socket, { status, message }: Answer): void {
  const { headers, body } = render(message);
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  closeConnection(socket, `HTTP/1.1 ${status}\r\n${head.join('')}\r\n${body}`);
}

function render(message: string): {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
} {
  const body = JSON.stringify({
    error: { message, type: 'invalid_request_error', param: null, code: 'malformed_http' },
  });
  const headers = {
    'x-request-id': newId('request'),
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    'cache-control': 'no-store',
    connection: 'close',
  };
  return { headers, body };
}

function chooseAnswer(code: string | undefined): Answer {
  if (code === 'HPE_HEADER_OVERFLOW') return HEADERS_TOO_LARGE;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return TOO_SLOW;
  return MALFORMED;
}

/** The answer to the newest request of each connection. Answers are sent in the order of their requests, so it is the last one. */
const lastAnswers = new WeakMap<Socket, ServerResponse>();
const closing = new WeakSet<Socket>();

/** How long a client may take to read the last answer and to end its side. */
const LINGER_MS = 1_000;
/** How much is read and discarded of a connection that is being closed: more than any route accepts. After that, nothing more is read. */
const DISCARDED_BYTES_MAX = 64 * 1_048_576;

/** Call it before the server listens. It remembers the last answer of each connection, which `closeConnection` waits for. */
export function trackAnswers(server: Server): void {
  const track = ({ socket }: IncomingMessage, response: ServerResponse): void => {
    lastAnswers.set(socket, response);
    response.once('finish', () => {
      // An idle connection must not keep its last request in memory.
      if (response.req.complete && lastAnswers.get(socket) === response) lastAnswers.delete(socket);
    });
  };
  server.prependListener('request', track);
  server.prependListener('checkExpectation', track);
}

/** Returns undefined when it was sent and its request is complete: whatever follows belongs to another request. */
function findLastAnswer(socket: Socket): ServerResponse | undefined {
  const last = lastAnswers.get(socket);
  return last?.closed === true && last.req.complete ? undefined : last;
}

export function isClosing(socket: Socket): boolean {
  return closing.has(socket);
}

/**
 * Reads no further request of the connection, and closes it when every pending answer was sent completely, with nothing after it.
 * Further bytes are read and discarded: if the connection were closed with unread bytes, it would be reset, and a client that is still
 * sending could not read its answer.
 *
 * @param refusal the answer to what gets no other one, in its position: a request whose body breaks off, or bytes that are not a
 *   request. A refused request never becomes complete, and its handler is notified by the end of the connection that its client is gone.
 */
export function closeConnection(socket: Socket, refusal: string): void {
  if (closing.has(socket)) return;
  closing.add(socket);
  const last = findLastAnswer(socket);
  discardInput(socket);
  // Node calls this after an answer with `connection: close`, and would close the connection at once.
  socket.destroySoon = () => end(socket);
  if (last === undefined) return end(socket, refusal);
  const needsAnswer = (): boolean => !last.req.complete && !last.headersSent;
  const close = (): void => {
    if (needsAnswer()) return end(socket, refusal);
    if (!last.headersSent) last.shouldKeepAlive = false;
    onAnswerEnd(last, () => end(socket));
  };
  // While earlier answers are still being sent, this one has no socket. It is assigned when they are finished.
  if (needsAnswer() && last.socket === null) last.once('socket', close);
  else close();
}

/** Without its `data` listener, Node's parser receives no more bytes. */
function discardInput(socket: Socket): void {
  let bytes = 0;
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DISCARDED_BYTES_MAX) socket.pause();
  });
  socket.resume();
}

/** A connection that only this side has ended stays open until the client ends it as well, which it may never do: hence the timer. */
function end(socket: Socket, refusal = ''): void {
  if (socket.writableEnded) return;
  socket.end(refusal);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

type Ends = Set<() => void>;

/** For each connection, what is called when it ends before its answers do: one function for each of these answers. */
const endsByConnection = new WeakMap<Socket, Ends>();
/** The listeners of each pending answer. */
const listenersByAnswer = new WeakMap<ServerResponse, (() => void)[]>();

/**
 * Calls `listener` once, as soon as the answer was sent completely or its connection has ended; immediately, if that has already
 * happened. Node does not emit `close` on a response that still waits for an earlier one of the same connection, so this listens to the
 * connection as well. Node gets one listener for each answer, regardless of how many callers wait for its end.
 */
export function onAnswerEnd(response: ServerResponse, listener: () => void): void {
  const { socket } = response.req;
  if (response.closed || socket.destroyed) return listener();
  const waiting = listenersByAnswer.get(response);
  if (waiting !== undefined) {
    waiting.push(listener);
    return;
  }
  const first = [listener];
  listenersByAnswer.set(response, first);
  const ends = getEnds(socket);
  const end = (): void => {
    if (!ends.delete(end)) return;
    listenersByAnswer.delete(response);
    for (const each of first) each();
  };
  ends.add(end);
  response.once('close', end);
}

function getEnds(socket: Socket): Ends {
  const known = endsByConnection.get(socket);
  if (known !== undefined) return known;
  const made: Ends = new Set();
  endsByConnection.set(socket, made);
  socket.once('close', () => {
    for (const end of [...made]) end();
  });
  return made;
}

/** The part of Node's response that shows whether the client is gone. */
export type Answering = {
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  once(event: 'close', listener: () => void): unknown;
};

/** Aborts when the connection ends before the whole answer was sent: work that no charge depends on may then stop. */
export function clientGoneSignal(answer: Answering): AbortSignal {
  const gone = new AbortController();
  const end = (): void => {
    if (!answer.writableFinished) gone.abort();
  };
  if (answer.destroyed) end();
  else answer.once('close', end);
  return gone.signal;
}

/** `@ClientGone() gone: AbortSignal` on a controller method. */
export const ClientGone = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const { raw } = context.switchToHttp().getResponse<{ raw: Answering }>();
  return clientGoneSignal(raw);
});
