import type { IncomingHttpHeaders } from 'node:http';
import { Agent, request } from 'undici';
import { parseJson } from './read-answer.js';

/** Enough for all tasks and downloads together. Connections stay open between calls. */
const CONNECTIONS_MAX = 64;
const KEEP_ALIVE_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** The longest pause between two chunks of a body. */
const BODY_TIMEOUT_MS = 15_000;
/** Answers in JSON have a few hundred bytes, or more when they contain a preview image. */
const JSON_BYTES_MAX = 4 * 1_048_576;

export type UpstreamRequest = {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly signal: AbortSignal;
  /** How long the upstream may take to begin its answer. */
  readonly timeoutMs: number;
};

export type UpstreamResponse<Body> = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Body;
};

export class ResponseTooLargeError extends Error {
  constructor(bytesMax: number) {
    super(`the upstream answered more than ${bytesMax} bytes`);
    this.name = 'ResponseTooLargeError';
  }
}

/**
 * Sends HTTP requests to an upstream with keep-alive and limits for time and size. It does not follow redirects. Throws what the
 * network throws.
 */
export class UpstreamHttp {
  private readonly agent = new Agent({
    connections: CONNECTIONS_MAX,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    bodyTimeout: BODY_TIMEOUT_MS,
  });

  /**
   * Returns the parsed JSON as `body`, or undefined when it is not valid JSON. Throws as `bytes` does.
   *
   * @param large the name of a string that is returned as bytes (`parseJson`).
   */
  async json(
    options: UpstreamRequest,
    bytesMax = JSON_BYTES_MAX,
    large?: string,
  ): Promise<UpstreamResponse<unknown>> {
    const { status, headers, body } = await this.bytes(options, bytesMax);
    return { status, headers, body: parseJson(body, large) };
  }

  /** Throws `ResponseTooLargeError` for more than `bytesMax` bytes, without reading the rest. */
  async bytes(options: UpstreamRequest, bytesMax: number): Promise<UpstreamResponse<Buffer>> {
    const { method, url, headers = {}, body = null, signal, timeoutMs } = options;
    const response = await request(url, {
      dispatcher: this.agent,
      method,
      headers,
      body,
      signal,
      headersTimeout: timeoutMs,
    });
    const declared = Number(response.headers['content-length'] ?? 0) || 0;
    if (declared > bytesMax) {
      response.body.destroy();
      throw new ResponseTooLargeError(bytesMax);
    }
    const whole = await readBody(response.body as AsyncIterable<Buffer>, declared, bytesMax);
    return { status: response.statusCode, headers: response.headers, body: whole };
  }

  close(): Promise<void> {
    return this.agent.close();
  }
}

/**
 * Reads a body. If its length is declared, the chunks are copied into one buffer as they arrive, so that no second copy of an image
 * is in memory. Otherwise the chunks are joined at the end.
 */
async function readBody(chunks: AsyncIterable<Buffer>, declared: number, bytesMax: number): Promise<Buffer> {
  const whole = declared > 0 ? Buffer.allocUnsafe(declared) : null;
  const parts: Buffer[] = [];
  let length = 0;
  // An exception inside the loop destroys the stream and with it the connection.
  for await (const chunk of chunks) {
    if (length + chunk.length > bytesMax) throw new ResponseTooLargeError(bytesMax);
    if (whole === null) parts.push(chunk);
    else chunk.copy(whole, length);
    length += chunk.length;
  }
  // More bytes than declared cannot arrive, because the connection fails before.

  return whole?.subarray(0, length) ?? Buffer.concat(parts, length);
}
