import { Inject, Injectable } from '@nestjs/common';
import { request } from 'undici';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import {
  connectionTo,
  HOST_RESOLVER,
  OutsideHosts,
  UnreachableError,
  type HostResolver,
  type OutsidePlace,
} from '../../../platform/egress/outside-hosts.js';
import { Problem } from '../../../platform/errors/problem.js';
import { REFERENCE_BYTES_MAX } from './arriving-image.js';
import { InvalidImageError } from './edit.errors.js';

/** The time for one image, including redirects. The caller waits for it, and memory for edits stays reserved in the meantime. */
const FETCH_TIMEOUT_MS = 10_000;
/** Image hosts redirect to their store, and stores redirect to a region. */
const REDIRECTS_MAX = 3;
const HEADER_BYTES_MAX = 16_384;

type Step = { readonly image: Buffer } | { readonly location: string };

/**
 * Fetches reference images from URLs that customers send. This service fetches them instead of the provider, so that the image is
 * verified before anything is charged, every provider gets the same bytes, and no provider is made to send requests to arbitrary
 * hosts. Only https URLs on public addresses are fetched, and each redirect is checked again. No cookies, credentials or caches are
 * used, and the error reveals nothing about the network except whether there was an image.
 */
@Injectable()
export class ReferenceFetcherService {
  private readonly hosts: OutsideHosts;

  constructor(
    @Inject(SETTINGS) settings: Pick<Settings, 'webhookLoopback'>,
    @Inject(HOST_RESOLVER) resolver: HostResolver,
  ) {
    this.hosts = new OutsideHosts({ loopback: settings.webhookLoopback }, resolver);
  }

  /**
   * Returns at most `REFERENCE_BYTES_MAX` bytes of any content. Throws `InvalidImageError` naming `param`, and what `onBytes` throws.
   *
   * @param onBytes is called before a chunk is kept.
   */
  async fetch(
    url: string,
    param: string,
    onBytes: (bytes: number) => void = () => undefined,
    timeoutMs = FETCH_TIMEOUT_MS,
  ): Promise<Buffer> {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      let text = url;
      for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
        const step = await get(await this.hosts.locate(text, signal), signal, onBytes);
        if ('image' in step) return step.image;
        text = step.location;
      }
      throw new FetchFault('redirects too often');
    } catch (error) {
      if (error instanceof Problem) throw error;
      throw new InvalidImageError(param, signal.aborted ? 'did not arrive in time' : toFault(error));
    }
  }
}

/** A failure of a fetch whose message may be shown to the customer. */
class FetchFault extends Error {}

function toFault(error: unknown): string {
  if (error instanceof FetchFault) return error.message;
  if (error instanceof UnreachableError && error.reason === 'address_refused') {
    return 'must be a data URL, or an https URL on the public internet';
  }
  return 'could not be fetched';
}

/** Sends one request on a separate connection to one of the addresses that were checked. */
async function get(
  place: OutsidePlace,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<Step> {
  const { url } = place;
  const dispatcher = connectionTo(place, HEADER_BYTES_MAX);
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher,
      method: 'GET',
      headers: { accept: 'image/png, image/jpeg, image/webp', 'user-agent': 'Coffer' },
      signal,
    });
    body.on('error', () => undefined);
    const { location } = headers;
    if (statusCode >= 300 && statusCode < 400 && typeof location === 'string') {
      if (!URL.canParse(location, url.href)) throw new FetchFault('redirects to no address');
      return { location: new URL(location, url).href };
    }
    if (statusCode !== 200) throw new FetchFault(`could not be fetched: its host answered ${statusCode}`);
    return { image: await readBounded(body, onBytes) };
  } finally {
    await dispatcher.destroy();
  }
}

async function readBounded(body: AsyncIterable<Buffer>, onBytes: (bytes: number) => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > REFERENCE_BYTES_MAX) throw new FetchFault(`has more than ${REFERENCE_BYTES_MAX} bytes`);
    onBytes(chunk.length);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
