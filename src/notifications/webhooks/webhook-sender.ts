import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { Inject, Injectable } from '@nestjs/common';
import { Agent, request } from 'undici';
import { SETTINGS, type Settings } from '../../config/settings.js';
import type { AttemptError, AttemptOutcome } from './delivery-rules.js';
import { isLoopbackAddress, isPublicAddress } from './public-address.js';
import { checkWebhookUrl, hostOf } from './webhook-url.js';

/** From the look-up of the name to the end of the answer. Standard Webhooks asks for 15 to 30 s. */
export const ATTEMPT_TIMEOUT_MS = 15_000;
/** An answer is its status. A little more is read, so that an ordinary receiver is not cut off. */
const RESPONSE_BYTES_MAX = 1_024;
const RESPONSE_HEADER_BYTES_MAX = 8_192;
/** A name server that does not answer is asked twice. */
const RESOLVE_TIMEOUT_MS = 3_000;
const RESOLVE_TRIES = 2;

export type WebhookRequest = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** Every address of a host name, as the public DNS tells it. Throws when there is none. */
export interface HostResolver {
  resolve(host: string): Promise<readonly string[]>;
}

export const HOST_RESOLVER = Symbol('HOST_RESOLVER');

/** Asks name servers only: what a hosts file calls a machine is no place that a customer may name. */
export const dnsResolver: HostResolver = {
  async resolve(host) {
    const resolver = new Resolver({ timeout: RESOLVE_TIMEOUT_MS, tries: RESOLVE_TRIES });
    const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    if (addresses.length === 0) throw new Error('the name has no address');
    return addresses;
  },
};

class AttemptFailedError extends Error {
  constructor(readonly reason: AttemptError) {
    super(reason);
  }
}

/**
 * Posts to addresses that strangers chose. The name is resolved once, every address of it is checked, and the
 * connection goes to one of those very addresses: a name that answers differently a moment later gains nothing.
 * No redirect is followed, no proxy used, no connection kept.
 */
@Injectable()
export class WebhookSender {
  constructor(
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'webhookLoopback'>,
    @Inject(HOST_RESOLVER) private readonly resolver: HostResolver,
  ) {}

  /** Never throws for what the receiver or the network does. */
  async post(message: WebhookRequest, timeoutMs = ATTEMPT_TIMEOUT_MS): Promise<AttemptOutcome> {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const { url, addresses } = await this.locate(message.url, signal);
      return await exchange(url, addresses, message, signal);
    } catch (error) {
      return { kind: 'failed', error: signal.aborted ? 'timeout' : reasonOf(error) };
    }
  }

  /** The settings may have changed since the URL was taken, so its text is checked again as well. */
  private async locate(
    text: string,
    signal: AbortSignal,
  ): Promise<{ url: URL; addresses: readonly string[] }> {
    const verdict = checkWebhookUrl(text, { loopback: this.settings.webhookLoopback });
    if ('fault' in verdict) throw new AttemptFailedError('address_refused');
    const { url } = verdict;
    const host = hostOf(url);
    const inside = this.settings.webhookLoopback && (host === 'localhost' || isLoopbackAddress(host));
    const addresses = await this.addressesOf(host, signal);
    // One bad address among good ones is refused, too: which one is used is up to the network.
    if (!addresses.every(inside ? isLoopbackAddress : isPublicAddress)) {
      throw new AttemptFailedError('address_refused');
    }
    return { url, addresses };
  }

  private async addressesOf(host: string, signal: AbortSignal): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    if (host === 'localhost') return ['127.0.0.1', '::1'];
    const resolved = this.resolver.resolve(host).catch(() => []);
    const addresses = await Promise.race([resolved, rejectWhenAborted(signal)]);
    if (addresses.length === 0) throw new AttemptFailedError('host_not_found');
    return addresses;
  }
}

async function exchange(
  url: URL,
  addresses: readonly string[],
  { headers, body }: WebhookRequest,
  signal: AbortSignal,
): Promise<AttemptOutcome> {
  const dispatcher = new Agent({
    connect: { lookup: pinnedTo(addresses), autoSelectFamily: true },
    maxHeaderSize: RESPONSE_HEADER_BYTES_MAX,
    pipelining: 0,
  });
  try {
    const response = await request(url, { dispatcher, method: 'POST', headers, body, signal });
    response.body.on('error', () => undefined);
    await readLittle(response.body).catch(() => undefined);
    const retryAfter = response.headers['retry-after'];
    return {
      kind: 'answered',
      status: response.statusCode,
      retryAfter: typeof retryAfter === 'string' ? retryAfter : null,
    };
  } finally {
    await dispatcher.destroy();
  }
}

/** Leaving the loop closes the stream. Whatever goes wrong here: the status has been said. */
async function readLittle(body: AsyncIterable<Buffer>): Promise<void> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > RESPONSE_BYTES_MAX) return;
  }
}

/** The addresses that were checked, whatever name is asked for. Never called for a host that is an address itself. */
function pinnedTo(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, options, callback) => {
    const [first] = all;
    if (options.all === true) callback(null, all);
    else callback(null, first?.address ?? '', first?.family ?? 0);
  };
}

function rejectWhenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new AttemptFailedError('timeout')), { once: true });
  });
}

const TIMEOUT_CODES = /^(UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT|ETIMEDOUT)$/;
/** What Node's TLS reports: certificate verdicts of OpenSSL, and protocol errors. */
const TLS_CODES = /^(ERR_TLS_|ERR_SSL_|CERT_|EPROTO$|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH$)/;

function reasonOf(error: unknown): AttemptError {
  if (error instanceof AttemptFailedError) return error.reason;
  const code = codeOf(error);
  if (TIMEOUT_CODES.test(code)) return 'timeout';
  return TLS_CODES.test(code) ? 'tls_failed' : 'connection_failed';
}

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const { code, errors } = error as { readonly code?: unknown; readonly errors?: unknown };
  // Several addresses were tried: one error that holds the others.
  if (Array.isArray(errors) && errors.length > 0) return codeOf(errors[0]);
  return typeof code === 'string' ? code : '';
}
