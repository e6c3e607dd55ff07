import { Inject, Injectable } from '@nestjs/common';
import { request } from 'undici';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import {
  connectionTo,
  HOST_RESOLVER,
  OutsideHosts,
  UnreachableError,
  type HostResolver,
  type OutsidePlace,
} from '../../platform/egress/outside-hosts.js';
import type { AttemptError, AttemptOutcome } from './delivery-rules.js';

/** From the look-up of the name to the end of the answer. Standard Webhooks asks for 15 to 30 s. */
export const ATTEMPT_TIMEOUT_MS = 15_000;
/** An answer is its status. A little more is read, so that an ordinary receiver is not cut off. */
const RESPONSE_BYTES_MAX = 1_024;
const RESPONSE_HEADER_BYTES_MAX = 8_192;

export type WebhookRequest = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/**
 * Posts to addresses that strangers chose. The name is resolved once, every address of it is checked, and the
 * connection goes to one of those very addresses: a name that answers differently a moment later gains nothing.
 * No redirect is followed, no proxy used, no connection kept.
 */
@Injectable()
export class WebhookSender {
  private readonly hosts: OutsideHosts;

  constructor(
    @Inject(SETTINGS) settings: Pick<Settings, 'webhookLoopback'>,
    @Inject(HOST_RESOLVER) resolver: HostResolver,
  ) {
    this.hosts = new OutsideHosts({ loopback: settings.webhookLoopback }, resolver);
  }

  /** Never throws for what the receiver or the network does. */
  async post(
    message: WebhookRequest,
    signal: AbortSignal = AbortSignal.timeout(ATTEMPT_TIMEOUT_MS),
  ): Promise<AttemptOutcome> {
    try {
      // The settings may have changed since the URL was taken, so its text is checked again as well.
      return await exchange(await this.hosts.locate(message.url, signal), message, signal);
    } catch (error) {
      return { kind: 'failed', error: signal.aborted ? 'timeout' : toAttemptError(error) };
    }
  }
}

async function exchange(
  place: OutsidePlace,
  { headers, body }: WebhookRequest,
  signal: AbortSignal,
): Promise<AttemptOutcome> {
  const dispatcher = connectionTo(place, RESPONSE_HEADER_BYTES_MAX);
  try {
    const response = await request(place.url, { dispatcher, method: 'POST', headers, body, signal });
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

const TIMEOUT_CODES = /^(UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT|ETIMEDOUT)$/;
/** What Node's TLS reports: certificate verdicts of OpenSSL, and protocol errors. */
const TLS_CODES = /^(ERR_TLS_|ERR_SSL_|CERT_|EPROTO$|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH$)/;

function toAttemptError(error: unknown): AttemptError {
  if (error instanceof UnreachableError) return error.reason;
  const code = findErrorCode(error);
  if (TIMEOUT_CODES.test(code)) return 'timeout';
  return TLS_CODES.test(code) ? 'tls_failed' : 'connection_failed';
}

function findErrorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const { code, errors } = error as { readonly code?: unknown; readonly errors?: unknown };
  // Several addresses were tried: one error that holds the others.
  if (Array.isArray(errors) && errors.length > 0) return findErrorCode(errors[0]);
  return typeof code === 'string' ? code : '';
}
