import type { IncomingHttpHeaders } from 'node:http';
import { Agent, request } from 'undici';
import { parseJson } from './read-answer.js';

/** As many as tasks and downloads together ever need; connections stay open between calls. */
const CONNECTIONS_MAX = 64;
const KEEP_ALIVE_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Between two chunks of a body. */
const BODY_TIMEOUT_MS = 15_000;
/** Answers in JSON are a few hundred bytes; with a preview image inside they may be larger. */
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
 * HTTP to an upstream: keep-alive, bounded in time and size, redirects never followed by themselves.
 * Throws what the network throws.
 */
export class UpstreamHttp {
  private readonly agent = new Agent({
    connections: CONNECTIONS_MAX,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    bodyTimeout: BODY_TIMEOUT_MS,
  });

  /**
   * `body` is what the JSON says; undefined when it is not JSON. Throws as `bytes` does.
   *
   * @param large the name of a text that stays bytes (`parseJson`).
   */
  async json(
    options: UpstreamRequest,
    bytesMax = JSON_BYTES_MAX,
    large?: string,
  ): Promise<UpstreamResponse<unknown>> {
    const { status, headers, body } = await this.bytes(options, bytesMax);
    return { status, headers, body: parseJson(body, large) };
  }

  /** Throws `ResponseTooLargeError` beyond `bytesMax`, without reading on. */
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
 * A body of a declared length fills one buffer as it comes in, so that no second copy of an image lies in memory until the
 * last byte is there. One of no declared length is put together at its end.
 */
async function readBody(chunks: AsyncIterable<Buffer>, declared: number, bytesMax: number): Promise<Buffer> {
  const whole = declared > 0 ? Buffer.allocUnsafe(declared) : null;
  const parts: Buffer[] = [];
  let length = 0;
  // Leaving the loop by an exception destroys the stream, and with it the connection.
  for await (const chunk of chunks) {
    if (length + chunk.length > bytesMax) throw new ResponseTooLargeError(bytesMax);
    if (whole === null) parts.push(chunk);
    else chunk.copy(whole, length);
    length += chunk.length;
  }
  // More than was declared never comes through: the connection fails before.
  return whole?.subarray(0, length) ?? Buffer.concat(parts, length);
}
