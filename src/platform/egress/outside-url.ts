import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Outside production, a server on this machine may be allowed, over plain http. */
export type UrlPolicy = { readonly loopback: boolean };

/** The longest URL that common servers and proxies accept. */
export const OUTSIDE_URL_LENGTH_MAX = 2_000;
const HOST_LENGTH_MAX = 253;
/** Below 1024 only the ports of web servers are allowed, which excludes mail, SSH and directory servers; any program may use a higher port. */
const LOW_PORTS_ALLOWED: ReadonlySet<number> = new Set([80, 443]);
const PRIVILEGED_PORT_MAX = 1_023;
const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
/** Names that never lead to the public internet: RFC 6761, 6762, 8375 and the internal names of clouds. */
const INSIDE_NAMES = ['localhost', 'local', 'internal', 'home.arpa', 'lan', 'intranet', 'onion', 'invalid'];

export type UrlVerdict = { readonly url: URL } | { readonly fault: string };

/**
 * Checks, from the text alone, whether a customer may make the service connect there. The address is known only when the name
 * is resolved, so `OutsideHosts` checks it again at the moment of the connection.
 */
export function checkOutsideUrl(text: string, policy: UrlPolicy): UrlVerdict {
  if (text.length > OUTSIDE_URL_LENGTH_MAX)
    return fault(`must be at most ${OUTSIDE_URL_LENGTH_MAX} characters`);
  // The parser would drop white space and control characters silently, and then the stored text would differ from the checked one.
  if (!/^https?:\/\/[\x21-\x7e]+$/i.test(text) || text.includes('\\') || !URL.canParse(text)) {
    return fault('must be an absolute https URL in ASCII');
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return fault('must not contain credentials');
  if (url.hash !== '') return fault('must not contain a fragment');
  const port = url.port === '' ? (DEFAULT_PORTS[url.protocol] ?? 0) : Number(url.port);
  if (port <= PRIVILEGED_PORT_MAX && !LOW_PORTS_ALLOWED.has(port)) {
    return fault('must have port 80, 443, or one above 1023');
  }
  const host = toHost(url);
  if (policy.loopback && isLoopbackHost(host)) return { url };
  if (url.protocol !== 'https:') return fault('must be an https URL');
  return isOutside(host) ? { url } : fault('must lead to a host on the public internet');
}

/** Returns the host without the brackets of an IPv6 address and without the dot that makes a name absolute. */
export function toHost(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
}

function isOutside(host: string): boolean {
  if (isIP(host) !== 0) return isPublicAddress(host);
  const isName = host.includes('.') && host.length <= HOST_LENGTH_MAX && !host.includes('..');
  return isName && !INSIDE_NAMES.some((name) => host === name || host.endsWith(`.${name}`));
}

function fault(text: string): UrlVerdict {
  return { fault: text };
}

const GLOBAL_UNICAST_V6 = ipaddr.IPv6.parse('2000::');
const GLOBAL_UNICAST_V6_BITS = 3;

/** Public by their range, but answered by the cloud itself on its machines: Azure's wire server reveals details of the machine. */
const ANSWERED_BY_CLOUDS: ReadonlySet<string> = new Set(['168.63.129.16']);

/**
 * Returns whether a customer may make the service connect there: an address of the public internet. False for private, loopback,
 * link-local (cloud metadata), shared, multicast, documentation and reserved ranges, and for every form of IPv6
 * that only wraps an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo): their destination depends on the network.
 *
 * @param address in the notation of the resolver or the URL parser. False for anything that is no address.
 */
export function isPublicAddress(address: string): boolean {
  // A zone (`fe80::1%eth0`) is valid on one link only, and the parser's result for it is not reliable.
  if (!ipaddr.isValid(address) || address.includes('%')) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast' || ANSWERED_BY_CLOUDS.has(parsed.toString())) return false;
  return parsed.kind() === 'ipv4' || parsed.match(GLOBAL_UNICAST_V6, GLOBAL_UNICAST_V6_BITS);
}

export function isLoopbackAddress(address: string): boolean {
  return ipaddr.isValid(address) && !address.includes('%') && ipaddr.parse(address).range() === 'loopback';
}

/** A host in the notation of a URL: `localhost`, `127.0.0.1`, `[::1]`. */
export function isLoopbackHost(host: string): boolean {
  return host.toLowerCase() === 'localhost' || isLoopbackAddress(host.replace(/^\[(.*)\]$/, '$1'));
}
