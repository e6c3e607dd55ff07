import { pause } from './pause.js';
import { ProviderFailure } from './provider-failure.js';
import type { TrustedHosts } from './trusted-hosts.js';
import { ResponseTooLargeError, type UpstreamHttp, type UpstreamResponse } from './upstream-http.js';

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
