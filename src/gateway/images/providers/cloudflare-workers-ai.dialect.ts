import sharp from 'sharp';
import type { CloudflareSettings } from '../../../platform/config/settings.js';
import { CONVERSION_SECONDS_MAX, conversions, type ConversionContext } from '../media/conversions.js';
import {
  encodeForm,
  members,
  readBase64,
  readRetryAfter,
  TrustedHosts,
  type UpstreamResponse,
} from './upstream-http.js';
import type { ProviderRequest, ReferenceImage } from './image-provider.js';
import { toFailureKind, ProviderFailure, type FailureKind } from './provider-failure.js';
import type { DialectRequest, DialectResult, SynchronousDialect } from './synchronous.provider.js';

/** The provider's own limits for the models of FLUX.2. */
const SIDE_MIN = 256;
const SIDE_MAX = 1_920;
const REFERENCES_MAX = 4;
/** References must be smaller than 512 x 512. */
const REFERENCE_SIDE_MAX = 511;
const TEXT_CHARS_MAX = 200;

/**
 * Error codes that are more specific than their status (https://developers.cloudflare.com/workers-ai/platform/errors/). For example,
 * a used-up free plan is a 429 as well, but waiting does not help the customer.
 */
const KINDS_BY_CODE: Readonly<Record<number, FailureKind>> = {
  3007: 'unavailable', // timeout
  3008: 'unavailable', // aborted
  3023: 'account', // account blocked
  3030: 'moderated', // the prompt contains NSFW content
  3036: 'account', // daily allocation used up
  3040: 'saturated', // out of capacity
  3041: 'account', // no access to the model
  3042: 'account', // invalid model name
  5005: 'account', // not for this model
  5007: 'account', // no such model
  5016: 'account', // terms of the model not agreed to
  5018: 'account', // no access to the model
  5019: 'account', // this kind of request is no longer supported
};

/**
 * Cloudflare Workers AI takes a multipart form and returns base64 in a format that it chooses. Its filter cannot be configured, so
 * `moderation` is not sent.
 */
export class CloudflareWorkersAiDialect implements SynchronousDialect {
  readonly name = 'cloudflare_workers_ai';
  readonly imageMember = 'image';
  readonly secrets: readonly string[];
  readonly trusted: TrustedHosts;

  constructor(private readonly settings: CloudflareSettings) {
    this.secrets = [settings.apiToken];
    this.trusted = new TrustedHosts(settings.apiBase);
  }

  findObstacle({ width, height, references }: ProviderRequest): string | null {
    if (Math.min(width, height) < SIDE_MIN || Math.max(width, height) > SIDE_MAX) {
      return `size: each side must be from ${SIDE_MIN} to ${SIDE_MAX}`;
    }
    return references.length > REFERENCES_MAX ? `image: at most ${REFERENCES_MAX} reference images` : null;
  }

  async toRequest(request: ProviderRequest, context: ConversionContext): Promise<DialectRequest> {
    const form = new FormData();
    form.set('prompt', request.prompt);
    form.set('width', String(request.width));
    form.set('height', String(request.height));
    const references = await Promise.all(
      request.references.map((reference) => toSmallReference(reference, context)),
    );
    references.forEach((file, index) => form.set(`input_image_${index}`, file, `reference-${index}`));
    const { contentType, body } = await encodeForm(form);
    return {
      url: new URL(
        `/client/v4/accounts/${this.settings.accountId}/ai/run/${request.upstreamModel}`,
        this.settings.apiBase,
      ),
      headers: {
        authorization: `Bearer ${this.settings.apiToken}`,
        accept: 'application/json',
        'content-type': contentType,
      },
      body,
    };
  }

  /** The image is in `result` or, according to the models' own schemas, at the top level. */
  readResult(body: unknown): DialectResult | null {
    const { result, image } = members(body);
    const bytes = readBase64(members(result)['image'] ?? image);
    return bytes === null ? null : { kind: 'bytes', image: bytes };
  }

  readFailure({ status, headers, body }: UpstreamResponse<unknown>): ProviderFailure {
    const { code, message } = firstError(body);
    const complaint = `it answered ${status}, ${code ?? 'no code'}: ${message}`;
    const kind = (code === null ? undefined : KINDS_BY_CODE[code]) ?? toFailureKind(status);
    // A complaint about a request names the provider's parameters, not the customer's, so it is only logged.
    const text = kind === 'rejected' ? 'the provider refused the request' : complaint;
    return new ProviderFailure(kind, text, {
      retryAfterSeconds: readRetryAfter(headers['retry-after']),
      ...(kind === 'rejected' ? { cause: new Error(complaint) } : {}),
    });
  }
}

function firstError(body: unknown): { readonly code: number | null; readonly message: string } {
  const { errors } = members(body);
  const { code, message } = members(Array.isArray(errors) ? (errors as unknown[])[0] : undefined);
  return {
    code: typeof code === 'number' ? code : null,
    message: typeof message === 'string' ? message.slice(0, TEXT_CHARS_MAX) : '',
  };
}

/** Scales a reference down only if it is too large, without cropping it. */
async function toSmallReference(reference: ReferenceImage, context: ConversionContext): Promise<Blob> {
  const { bytes, contentType, width, height } = reference;
  if (Math.max(width, height) <= REFERENCE_SIDE_MAX)
    return new Blob([copyBytes(bytes)], { type: contentType });
  const convert = () =>
    sharp(bytes, { limitInputPixels: width * height })
      .timeout({ seconds: CONVERSION_SECONDS_MAX })
      .resize({ width: REFERENCE_SIDE_MAX, height: REFERENCE_SIDE_MAX, fit: 'inside' })
      .png()
      .toBuffer();
  try {
    return new Blob([copyBytes(await conversions.run(context, convert))], { type: 'image/png' });
  } catch (error) {
    throw new ProviderFailure('failed', 'a reference could not be made smaller', { cause: error });
  }
}

/** `Blob` does not accept a view of memory that may be shared, so the bytes are copied. */
function copyBytes(bytes: Buffer): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
