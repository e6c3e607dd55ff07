import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { newId } from '../common/ids.js';
import { closeConnection, isClosing } from './last-answers.js';

/** Node's parser gave up on the bytes of a connection; there is no request yet, only a socket to answer on. */
type ClientError = Error & { readonly code?: string };

export type Answer = { readonly status: string; readonly message: string };

const HEADERS_TOO_LARGE: Answer = {
  status: '431 Request Header Fields Too Large',
  message: 'The request headers are too large.',
};
const TOO_SLOW: Answer = { status: '408 Request Timeout', message: 'The request was not sent in time.' };
const MALFORMED: Answer = { status: '400 Bad Request', message: 'The request is not well-formed HTTP.' };

/**
 * Answers bytes that are no request, or a request that does not arrive. Every request gets one answer: nothing is written after the
 * answer to a request whose body breaks off, and what comes after a whole request neither replaces its answer, which may
 * say what was charged, nor is answered in the middle of it.
 */
export function answerClientError(error: ClientError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || isClosing(socket)) return;
  // Whoever never sent a byte asked for nothing, and would read an answer as the one to a later request.
  if (!socket.writable || socket.bytesRead === 0) {
    socket.destroy();
    return;
  }
  refuse(socket, answerTo(error.code));
}

/** `Expect` knows one value, `100-continue` (RFC 9110, 10.1.1); by itself Node would refuse another one without a word. */
export function answerExpectation(response: ServerResponse): void {
  const { headers, body } = render('The only expectation that is met is 100-continue.');
  response.writeHead(417, headers).end(body);
}

/** Answers the request that is arriving, in its turn and if it has no answer yet, and closes the connection. */
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

function answerTo(code: string | undefined): Answer {
  if (code === 'HPE_HEADER_OVERFLOW') return HEADERS_TOO_LARGE;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return TOO_SLOW;
  return MALFORMED;
}
