import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { Agent } from 'undici';
import {
  checkOutsideUrl,
  toHost,
  type UrlPolicy,
  isLoopbackAddress,
  isPublicAddress,
} from './outside-url.js';

/** The time after which a name server that does not answer is asked again. */
const RESOLVE_TIMEOUT_MS = 3_000;
const RESOLVE_TRIES = 2;

/** Returns every address of a host name in the public DNS. Throws when there is none. */
export interface HostResolver {
  resolve(host: string): Promise<readonly string[]>;
}

export const HOST_RESOLVER = Symbol('HOST_RESOLVER');

/** Asks name servers only: a customer's URL must not reach machines that a hosts file names. */
export const dnsResolver: HostResolver = {
  async resolve(host) {
    const resolver = new Resolver({ timeout: RESOLVE_TIMEOUT_MS, tries: RESOLVE_TRIES });
    const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    if (addresses.length === 0) throw new Error('the name has no address');
    return addresses;
  },
};

/** The reason why nothing was sent. */
export class UnreachableError extends Error {
  constructor(readonly reason: 'address_refused' | 'host_not_found' | 'timeout') {
    super(reason);
    this.name = 'UnreachableError';
  }
}

export type OutsidePlace = {
  readonly url: URL;
  /** All of them are checked; connect to these, and never resolve the name again (`connectionTo`). */
  readonly addresses: readonly string[];
};

/**
 * Resolves URLs that customers have chosen. The name is resolved once, every address of it is checked, and the
 * connection goes to one of those addresses: a name that resolves differently a moment later gains nothing.
 */
export class OutsideHosts {
  constructor(
    private readonly policy: UrlPolicy,
    private readonly resolver: HostResolver,
  ) {}

  /** Rejects with `UnreachableError`. */
  async locate(text: string, signal: AbortSignal): Promise<OutsidePlace> {
    const verdict = checkOutsideUrl(text, this.policy);
    if ('fault' in verdict) throw new UnreachableError('address_refused');
    const { url } = verdict;
    const host = toHost(url);
    const inside = this.policy.loopback && (host === 'localhost' || isLoopbackAddress(host));
    const addresses = await this.findAddresses(host, signal);
    // One bad address among good ones is refused as well, because the network decides which one is used.
    if (!addresses.every(inside ? isLoopbackAddress : isPublicAddress)) {
      throw new UnreachableError('address_refused');
    }
    return { url, addresses };
  }

  private async findAddresses(host: string, signal: AbortSignal): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    if (host === 'localhost') return ['127.0.0.1', '::1'];
    const resolved = this.resolver.resolve(host).catch(() => []);
    const addresses = await Promise.race([resolved, rejectWhenAborted(signal)]);
    if (addresses.length === 0) throw new UnreachableError('host_not_found');
    return addresses;
  }
}

/** Makes a connection for one exchange with that place: nothing is kept open, and the name is not resolved again. The caller destroys it. */
export function connectionTo({ addresses }: OutsidePlace, headerBytesMax: number): Agent {
  return new Agent({
    connect: { lookup: pinnedTo(addresses), autoSelectFamily: true },
    maxHeaderSize: headerBytesMax,
    pipelining: 0,
  });
}

/** Returns the checked addresses for any name. It is never called for a host that is an address itself. */
export function pinnedTo(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, options, callback) => {
    const [first] = all;
    if (options.all === true) callback(null, all);
    else callback(null, first?.address ?? '', first?.family ?? 0);
  };
}

function rejectWhenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const abort = (): void => reject(new UnreachableError('timeout'));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
