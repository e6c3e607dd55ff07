import type { IncomingHttpHeaders } from 'node:http';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { decodeBase64 } from '../calls/base64.js';
import {
  FairSlots,
  NoSlotError,
  type FairSlotLimits,
  type SlotRequest,
} from '../../../platform/common/fair-slots.js';
import { IMAGES_MAX } from '../calls/image-request.js';
import { ProviderFailure } from './provider-failure.js';

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

/** Gives access to the members of an unknown value; a value that is no object has none. */
export function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Replaces the bytes that were taken out while the rest is parsed. It is random, so an upstream cannot send it. */
const PLACEHOLDER = randomUUID();

/**
 * Parses JSON; returns undefined when it is not valid. The first string with the name `large` is returned as bytes, a view of `body`:
 * an image in base64 is most of an answer, and this avoids a string of its size.
 */
export function parseJson(body: Buffer, large?: string): unknown {
  const text = large === undefined ? null : findText(body, large);
  try {
    if (text === null) return JSON.parse(body.toString('utf8'));
    const rest = body.toString('utf8', 0, text.begin) + PLACEHOLDER + body.toString('utf8', text.end);
    const bytes = body.subarray(text.begin, text.end);
    return JSON.parse(rest, (_name, value: unknown) => (value === PLACEHOLDER ? bytes : value));
  } catch {
    return undefined;
  }
}

/** Finds the string with that name, without its quotes; null when there is none or it contains escapes. */
function findText(body: Buffer, name: string): { readonly begin: number; readonly end: number } | null {
  const nameAt = body.indexOf(JSON.stringify(name));
  if (nameAt === -1) return null;
  const head = /^\s*:\s*"/.exec(body.toString('latin1', nameAt + name.length + 2, nameAt + name.length + 66));
  if (head === null) return null;
  const begin = nameAt + name.length + 2 + head[0].length;
  const end = body.indexOf(QUOTE, begin);
  // Only the parser can read escapes.
  return end === -1 || body.subarray(begin, end).includes(BACKSLASH) ? null : { begin, end };
}

/** Decodes base64 text with or without a `data:` prefix; returns null for anything else. */
export function readBase64(value: unknown): Buffer | null {
  const text = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  if (!Buffer.isBuffer(text)) return null;
  const isDataUrl = text.toString('latin1', 0, 5) === 'data:';
  const bytes = decodeBase64(isDataUrl ? text.subarray(text.indexOf(',') + 1) : text);
  return bytes.length > 0 ? bytes : null;
}

/** Returns whole seconds from 1 to 60; null when the provider does not name them. */
export function readRetryAfter(retryAfter: unknown): number | null {
  const seconds = Number(retryAfter ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), 60) : null;
}

/** Encodes a form as bytes, with the boundary that its content type names. */
export async function encodeForm(
  form: FormData,
): Promise<{ readonly contentType: string; readonly body: Buffer }> {
  const encoded = new Response(form);
  return {
    contentType: encoded.headers.get('content-type') ?? 'multipart/form-data',
    body: Buffer.from(await encoded.arrayBuffer()),
  };
}

/** Four megapixels of uncompressed 16-bit RGBA are 32 MiB. */
const IMAGE_BYTES_MAX = 40 * 1_048_576;
const REDIRECTS_MAX = 2;
const TIMEOUT_MS = 15_000;
/** The provider keeps the result for ten minutes. A delivery host that is down for longer than this rarely recovers in time. */
const RETRY_DELAYS_MS = [200, 1_000, 3_000] as const;

/**
 * Downloads a finished result. Redirects are followed to trusted hosts only, and no key is sent, because the URL itself grants
 * access. Throws `failed` when the result can never be fetched, and `lost` when `signal` aborts first: the task is done, and
 * recovery may fetch the result later.
 */
export async function fetchSample(
  http: UpstreamHttp,
  trusted: TrustedHosts,
  sampleUrl: string,
  signal: AbortSignal,
): Promise<Buffer> {
  for (let attempt = 0; ; attempt += 1) {
    const response = await follow(http, trusted, sampleUrl, signal);
    if (response?.status === 200) return response.body;
    const delayMs = RETRY_DELAYS_MS[attempt];
    if (!isWorthRetrying(response?.status) || delayMs === undefined) {
      if (signal.aborted) throw lost();
      throw new ProviderFailure(
        'failed',
        `the result could not be downloaded: ${response?.status ?? 'no answer'}`,
      );
    }
    await pause(delayMs, signal, lost);
  }
}

const lost = () => new ProviderFailure('lost', 'the result was ready but not downloaded in time');

/** Returns null when the network failed. */
async function follow(
  http: UpstreamHttp,
  trusted: TrustedHosts,
  firstUrl: string,
  signal: AbortSignal,
): Promise<UpstreamResponse<Buffer> | null> {
  let text = firstUrl;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
    const url = trusted.parse(text);
    if (url === null) throw new ProviderFailure('failed', 'the result is on a foreign host');
    const response = await get(http, url, signal);
    const location = response?.headers['location'];
    if (response === null || response.status < 300 || response.status >= 400 || location === undefined) {
      return response;
    }
    text = URL.canParse(location, url.href) ? new URL(location, url).href : '';
  }
  throw new ProviderFailure('failed', 'the result redirects too often');
}

async function get(
  http: UpstreamHttp,
  url: URL,
  signal: AbortSignal,
): Promise<UpstreamResponse<Buffer> | null> {
  try {
    return await http.bytes({ method: 'GET', url, signal, timeoutMs: TIMEOUT_MS }, IMAGE_BYTES_MAX);
  } catch (error) {
    if (error instanceof ResponseTooLargeError) throw new ProviderFailure('failed', error.message);
    return null;
  }
}

/** Whether there was no answer, too many requests, or an error of the host. */
function isWorthRetrying(status: number | undefined): boolean {
  return status === undefined || status === 429 || status >= 500;
}

const BFL_HOST = 'bfl.ai';

/**
 * The hosts to which our provider key may be sent and from which images may be fetched. Answers of the provider contain these URLs,
 * so a forged answer could otherwise steal our key or make us send requests inside our own network.
 */
export class TrustedHosts {
  /** @param others further origins from the settings, from which results may be fetched as well. */
  constructor(
    private readonly apiBase: URL,
    private readonly others: readonly URL[] = [],
  ) {}

  /**
   * Returns the URL if it is trusted, otherwise null. With the real provider these are `https` URLs on `bfl.ai` and its subdomains with
   * the default port. With another base (the simulator or another server) they are that exact origin and those in the settings. URLs
   * with user names are never trusted.
   */
  parse(text: string): URL | null {
    if (!URL.canParse(text)) return null;
    const url = new URL(text);
    if (url.username !== '' || url.password !== '') return null;
    return this.isTrusted(url) ? url : null;
  }

  private isTrusted(url: URL): boolean {
    if (this.others.some(({ origin }) => url.origin === origin)) return true;
    if (!isBflHost(this.apiBase.hostname)) return url.origin === this.apiBase.origin;
    return url.protocol === 'https:' && url.port === '' && isBflHost(url.hostname);
  }
}

function isBflHost(hostname: string): boolean {
  return hostname === BFL_HOST || hostname.endsWith(`.${BFL_HOST}`);
}

/** Waits for `delayMs`. Throws `failure()` as soon as `signal` aborts, or at once if it is aborted already. */
export async function pause(delayMs: number, signal: AbortSignal, failure: () => Error): Promise<void> {
  if (signal.aborted) throw failure();
  await sleep(delayMs, undefined, { signal }).catch(() => {
    throw failure();
  });
}

export type TaskSlotLimits = Omit<FairSlotLimits, 'waitersPerOwnerMax'> & {
  readonly waitMaxMs: number;
  /** The `retry-after` of a refused caller. */
  readonly retryAfterSeconds: number;
};

/** How many images of one account may wait for each slot: about as many as are made within the longest wait. */
const WAITERS_PER_SLOT = 2;

/**
 * The slots of one upstream account. Customers share them evenly by image, so a call for ten images counts as ten. The wait for a slot
 * is short and bounded.
 */
export class TaskSlots {
  private readonly slots: FairSlots;

  constructor(private readonly limits: TaskSlotLimits) {
    const waitersPerOwnerMax = Math.max(WAITERS_PER_SLOT * limits.slots, IMAGES_MAX);
    this.slots = new FairSlots({ ...limits, waitersPerOwnerMax });
  }

  get waiting(): number {
    return this.slots.waiting;
  }

  /**
   * Runs `work` in a slot. Throws `ProviderFailure` (`saturated`) when too many images wait already, or no slot becomes free within
   * `waitMaxMs` or the limit of these slots, whichever is shorter.
   */
  async run<T>(
    request: SlotRequest,
    work: () => Promise<T>,
    waitMaxMs = Number.POSITIVE_INFINITY,
  ): Promise<T> {
    try {
      return await this.slots.run(request, work, { maxMs: Math.min(waitMaxMs, this.limits.waitMaxMs) });
    } catch (error) {
      if (!(error instanceof NoSlotError)) throw error;
      const { retryAfterSeconds } = this.limits;
      throw new ProviderFailure('saturated', `the upstream account has ${error.message}`, {
        retryAfterSeconds,
        cause: error,
      });
    }
  }
}

type Pool = { readonly slots: TaskSlots; users: number };

/** Task slots for customers' own accounts. Each key has a pool, which is removed when no call uses it. */
export class CustomerSlots {
  private readonly pools = new Map<string, Pool>();

  constructor(private readonly limits: TaskSlotLimits) {}

  /** How many keys are in use. */
  get size(): number {
    return this.pools.size;
  }

  /** Throws `ProviderFailure` (`saturated`) when no slot of this key becomes free in time. */
  async run<T>(keyId: string, request: SlotRequest, work: () => Promise<T>, waitMaxMs?: number): Promise<T> {
    const pool = this.pools.get(keyId) ?? { slots: new TaskSlots(this.limits), users: 0 };
    this.pools.set(keyId, pool);
    pool.users += 1;
    try {
      return await pool.slots.run(request, work, waitMaxMs);
    } finally {
      pool.users -= 1;
      if (pool.users === 0) this.pools.delete(keyId);
    }
  }
}
