import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { Agent } from 'undici';
import { checkOutsideUrl, hostOf, type UrlPolicy } from './outside-url.js';
import { isLoopbackAddress, isPublicAddress } from './public-address.js';

/** A name server that does not answer is asked twice. */
const RESOLVE_TIMEOUT_MS = 3_000;
const RESOLVE_TRIES = 2;

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

/** Why nothing was sent at all. */
export class UnreachableError extends Error {
  constructor(readonly reason: 'address_refused' | 'host_not_found' | 'timeout') {
    super(reason);
    this.name = 'UnreachableError';
  }
}

export type OutsidePlace = {
  readonly url: URL;
  /** All of them checked; connect to these, and never ask for the name again (`connectionTo`). */
  readonly addresses: readonly string[];
};

/**
 * Finds where URLs lead that strangers chose. The name is resolved once, every address of it is checked, and the
 * connection goes to one of those very addresses: a name that answers differently a moment later gains nothing.
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
    const host = hostOf(url);
    const inside = this.policy.loopback && (host === 'localhost' || isLoopbackAddress(host));
    const addresses = await this.addressesOf(host, signal);
    // One bad address among good ones is refused, too: which one is used is up to the network.
    if (!addresses.every(inside ? isLoopbackAddress : isPublicAddress)) {
      throw new UnreachableError('address_refused');
    }
    return { url, addresses };
  }

  private async addressesOf(host: string, signal: AbortSignal): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    if (host === 'localhost') return ['127.0.0.1', '::1'];
    const resolved = this.resolver.resolve(host).catch(() => []);
    const addresses = await Promise.race([resolved, rejectWhenAborted(signal)]);
    if (addresses.length === 0) throw new UnreachableError('host_not_found');
    return addresses;
  }
}

/** For one exchange with that place: nothing is kept open, and no name is asked for again. Whoever makes it destroys it. */
export function connectionTo({ addresses }: OutsidePlace, headerBytesMax: number): Agent {
  return new Agent({
    connect: { lookup: pinnedTo(addresses), autoSelectFamily: true },
    maxHeaderSize: headerBytesMax,
    pipelining: 0,
  });
}

/** The addresses that were checked, whatever name is asked for. Never called for a host that is an address itself. */
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
