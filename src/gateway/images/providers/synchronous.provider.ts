import type { ConversionContext } from '../media/conversions.js';
import {
  fetchSample,
  pause,
  type TrustedHosts,
  UpstreamHttp,
  type UpstreamResponse,
  TaskSlots,
} from './upstream-http.js';
import type {
  GenerateContext,
  ImageProvider,
  ProviderName,
  ProviderRequest,
  ProviderTask,
} from './image-provider.js';
import { ProviderFailure } from './provider-failure.js';
import { toRequestedFormat } from './to-asked-format.js';

/** Each call holds an image in base64 in memory, so this limits that memory as well. */
const ACTIVE_CALLS_MAX = 24;
const QUEUE_MAX = 1_000;
const SATURATION_WAIT_MAX_MS = 10_000;
const RESEND_DELAY_MS = 500;
const RETRY_AFTER_SECONDS = 3;
/** The answer is the image. This is below a call's deadline, so that a request that hangs ends before its call does. */
const ANSWER_TIMEOUT_MS = 90_000;
/** Four megapixels of uncompressed 8-bit RGB in base64 are 16 MiB. */
const ANSWER_BYTES_MAX = 24 * 1_048_576;
/** Headers with the provider's id of a request, which its support can use. */
const REQUEST_ID_HEADERS = ['x-request-id', 'cf-ray'] as const;
const REQUEST_ID_PATTERN = /^[\x21-\x7e]{1,300}$/;

export type DialectRequest = {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
};

/** The image of a successful answer, or its URL. */
export type DialectResult =
  { readonly kind: 'bytes'; readonly image: Buffer } | { readonly kind: 'url'; readonly url: string };

/** The differences between synchronous providers: how a request is written, and what an answer means. */
export interface SynchronousDialect {
  readonly name: ProviderName;
  /** The member of an answer that holds an image in base64. */
  readonly imageMember: string;
  /** Texts that are removed from everything that is logged or shown. */
  readonly secrets: readonly string[];
  /** The hosts from which results may be fetched, when an answer contains a URL instead of the image. */
  readonly trusted: TrustedHosts;
  findObstacle(request: ProviderRequest): string | null;
  /** Writes the request, with the key in its headers. It is sent to this URL only. */
  toRequest(request: ProviderRequest, context: ConversionContext): Promise<DialectRequest>;
  /** Returns null when a successful answer contains no image. */
  readResult(body: unknown): DialectResult | null;
  /** What any other answer means. */
  readFailure(response: UpstreamResponse<unknown>): ProviderFailure;
}

/**
 * A provider whose only answer is the image. It names no task, so after a request without an answer its outcome can never be found
 * out: that is `unavailable` and not `lost`. If the provider made the image nevertheless, we pay for it and the customer does not.
 */
export class SynchronousProvider implements ImageProvider {
  private readonly slots = new TaskSlots({
    slots: ACTIVE_CALLS_MAX,
    waitersMax: QUEUE_MAX,
    waitMaxMs: SATURATION_WAIT_MAX_MS,
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  });
  private readonly http = new UpstreamHttp();

  constructor(private readonly dialect: SynchronousDialect) {}

  get name(): ProviderName {
    return this.dialect.name;
  }

  findObstacle(request: ProviderRequest): string | null {
    return this.dialect.findObstacle(request);
  }

  async generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer> {
    const { slotRequest, signal, onTask, saturationWaitMaxMs = SATURATION_WAIT_MAX_MS } = context;
    const work = async () => {
      const { headers, body } = await this.send(request, context, saturationWaitMaxMs);
      onTask({ taskId: findRequestId(headers), pollingUrl: null, costMicros: request.costMicros ?? null });
      const result = this.dialect.readResult(body);
      if (result === null) throw new ProviderFailure('failed', 'a good answer contains no image');
      return result.kind === 'bytes' ? result.image : this.fetch(result.url, signal);
    };
    const image = await this.slots.run(slotRequest, work, saturationWaitMaxMs);
    return toRequestedFormat(image, request, context);
  }

  resume(task: ProviderTask): Promise<Buffer> {
    return Promise.reject(
      new ProviderFailure('failed', `${this.name} keeps no images: ${task.taskId ?? 'unnamed'}`),
    );
  }

  close(): Promise<void> {
    return this.http.close();
  }

  /** Resolves with a successful answer. It sends the request again while the account has no capacity, which others may be using. */
  private async send(
    request: ProviderRequest,
    context: ConversionContext,
    waitMaxMs: number,
  ): Promise<UpstreamResponse<unknown>> {
    const { signal } = context;
    const ready = await this.dialect.toRequest(request, context);
    const startedAtMs = performance.now();
    for (;;) {
      const response = await this.post(ready, signal);
      if (response.status >= 200 && response.status < 300) return response;
      const failure = this.withoutKey(this.dialect.readFailure(response));
      const waitedMs = performance.now() - startedAtMs;
      if (failure.kind !== 'saturated' || waitedMs + RESEND_DELAY_MS > waitMaxMs) throw failure;
      await pause(RESEND_DELAY_MS, signal, () => failure);
    }
  }

  private async post(ready: DialectRequest, signal: AbortSignal): Promise<UpstreamResponse<unknown>> {
    try {
      const request = { method: 'POST', ...ready, signal, timeoutMs: ANSWER_TIMEOUT_MS } as const;
      return await this.http.json(request, ANSWER_BYTES_MAX, this.dialect.imageMember);
    } catch (error) {
      throw new ProviderFailure('unavailable', 'a request got no whole answer', { cause: error });
    }
  }

  private async fetch(url: string, signal: AbortSignal): Promise<Buffer> {
    try {
      return await fetchSample(this.http, this.dialect.trusted, url, signal);
    } catch (error) {
      if (!(error instanceof ProviderFailure) || error.kind !== 'lost') throw error;
      // This URL is not stored, so recovery could not fetch the image and the hold must not be kept for it.
      throw new ProviderFailure('unavailable', error.message, { cause: error });
    }
  }

  /** Removes secrets from a complaint of the provider, which may repeat them and is logged and shown. */
  private withoutKey(failure: ProviderFailure): ProviderFailure {
    const { kind, message, retryAfterSeconds, cause } = failure;
    const clean = (text: string): string =>
      this.dialect.secrets.reduce((shown, secret) => shown.replaceAll(secret, '[key]'), text);
    return new ProviderFailure(kind, clean(message), {
      retryAfterSeconds,
      ...(cause instanceof Error ? { cause: new Error(clean(cause.message)) } : {}),
    });
  }
}

function findRequestId(headers: UpstreamResponse<unknown>['headers']): string | null {
  for (const name of REQUEST_ID_HEADERS) {
    const id = headers[name];
    if (typeof id === 'string' && REQUEST_ID_PATTERN.test(id)) return id;
  }
  return null;
}
