import type { Socket } from 'node:net';
import { newId } from '../common/ids.js';

/** Node's parser gave up on the bytes of a connection; there is no request yet, only a socket to answer on. */
type ClientError = Error & { readonly code?: string };

type Answer = { readonly status: string; readonly message: string };

const HEADERS_TOO_LARGE: Answer = {
  status: '431 Request Header Fields Too Large',
  message: 'The request headers are too large.',
};
const TOO_SLOW: Answer = { status: '408 Request Timeout', message: 'The request was not sent in time.' };
const MALFORMED: Answer = { status: '400 Bad Request', message: 'The request is not well-formed HTTP.' };

export function answerClientError(error: ClientError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { status, message } = answerTo(error.code);
  const body = JSON.stringify({
    error: { message, type: 'invalid_request_error', param: null, code: 'malformed_http' },
  });
  socket.end(
    `HTTP/1.1 ${status}\r\nx-request-id: ${newId('request')}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n${body}`,
  );
}

function answerTo(code: string | undefined): Answer {
  if (code === 'HPE_HEADER_OVERFLOW') return HEADERS_TOO_LARGE;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return TOO_SLOW;
  return MALFORMED;
}
