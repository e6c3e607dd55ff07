import type { OpenAiCompatibleSettings } from '../../../platform/config/settings.js';
import {
  encodeForm,
  members,
  readBase64,
  readRetryAfter,
  TrustedHosts,
  type UpstreamResponse,
} from './upstream-http.js';
import type { ProviderRequest } from './image-provider.js';
import { toFailureKind, ProviderFailure, type FailureKind } from './provider-failure.js';
import type { DialectRequest, DialectResult, SynchronousDialect } from './synchronous.provider.js';

const TEXT_CHARS_MAX = 200;
const URL_CHARS_MAX = 4_096;
/** A shorter header value is no secret but a word, such as a provider's name, which messages may contain. */
const SECRET_CHARS_MIN = 12;

/** Codes and types of `error` that are more specific than their status. */
const KINDS_BY_WORD: Readonly<Record<string, FailureKind>> = {
  moderation_blocked: 'moderated',
  content_policy_violation: 'moderated',
  content_filter: 'moderated',
  image_generation_user_error: 'rejected',
  // Our credit there is used up. The first code is sent with a 429, the second with a 400.
  insufficient_quota: 'account',
  billing_hard_limit_reached: 'account',
  model_not_found: 'account',
};

/** Parameters that have the same names in the customer's request. Complaints about other parameters are only logged. */
const CUSTOMER_PARAMETERS: readonly string[] = ['prompt', 'size', 'image', 'images'];

/**
 * Any server with OpenAI's images API. Only parameters that all such servers know are sent: some do not support `output_format`,
 * `moderation` or `user`, and some refuse unknown parameters. So the server chooses the format.
 */
export class OpenAiCompatibleDialect implements SynchronousDialect {
  readonly name = 'openai_compatible';
  readonly imageMember = 'b64_json';
  readonly secrets: readonly string[];
  readonly trusted: TrustedHosts;

  constructor(private readonly settings: OpenAiCompatibleSettings) {
    const values = Object.values(settings.headers).filter(({ length }) => length >= SECRET_CHARS_MIN);
    this.secrets = [settings.apiKey, ...values];
    this.trusted = new TrustedHosts(settings.apiBase, settings.resultHosts);
  }

  /** The API does not say which sizes a model supports, so the catalogue's limits must be valid for all routes of a model. */
  findObstacle(): string | null {
    return null;
  }

  async toRequest(request: ProviderRequest): Promise<DialectRequest> {
    const { upstreamModel: model, prompt, width, height, references } = request;
    const size = `${width}x${height}`;
    const { apiKey, headers: further } = this.settings;
    const headers = { ...further, authorization: `Bearer ${apiKey}`, accept: 'application/json' };
    if (references.length === 0) {
      return {
        url: this.toUrl('images/generations'),
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify({ model, prompt, n: 1, size, response_format: 'b64_json' }),
      };
    }
    const form = new FormData();
    for (const [name, value] of Object.entries({
      model,
      prompt,
      n: '1',
      size,
      response_format: 'b64_json',
    })) {
      form.set(name, value);
    }
    references.forEach(({ bytes, contentType }, index) => {
      const file = new Blob([new Uint8Array(bytes)], { type: contentType });
      // These are the names that OpenAI's own client uses.
      form.append(
        references.length === 1 ? 'image' : 'image[]',
        file,
        `image-${index}${toFileSuffix(contentType)}`,
      );
    });
    const { contentType: type, body } = await encodeForm(form);
    return { url: this.toUrl('images/edits'), headers: { ...headers, 'content-type': type }, body };
  }

  readResult(body: unknown): DialectResult | null {
    const { data } = members(body);
    const { b64_json: encoded, url } = members(Array.isArray(data) ? (data as unknown[])[0] : undefined);
    const image = readBase64(encoded);
    if (image !== null) return { kind: 'bytes', image };
    return typeof url === 'string' && url.length <= URL_CHARS_MAX ? { kind: 'url', url } : null;
  }

  readFailure({ status, headers, body }: UpstreamResponse<unknown>): ProviderFailure {
    const { code, type, param, message } = members(members(body)['error']);
    const kind = findKindByWord(code) ?? findKindByWord(type) ?? toFailureKind(status);
    const complaint = typeof message === 'string' ? message.slice(0, TEXT_CHARS_MAX) : '';
    if (kind !== 'rejected') {
      const retryAfterSeconds = readRetryAfter(headers['retry-after']);
      return new ProviderFailure(kind, `it answered ${status}: ${complaint}`, { retryAfterSeconds });
    }
    const isTheirs = typeof param === 'string' && CUSTOMER_PARAMETERS.includes(param);
    return new ProviderFailure(
      kind,
      isTheirs ? `${param}: ${complaint}` : 'the provider refused the request',
      {
        cause: new Error(`it answered ${status}`),
      },
    );
  }

  /** The base URL may have a path, such as `/v1`. */
  private toUrl(path: string): URL {
    const { origin, pathname } = this.settings.apiBase;
    return new URL(`${origin}${pathname.replace(/\/+$/, '')}/${path}`);
  }
}

function findKindByWord(word: unknown): FailureKind | undefined {
  return typeof word === 'string' && Object.hasOwn(KINDS_BY_WORD, word) ? KINDS_BY_WORD[word] : undefined;
}

function toFileSuffix(contentType: string): string {
  return `.${contentType.slice('image/'.length)}`;
}
