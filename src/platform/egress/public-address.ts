import ipaddr from 'ipaddr.js';

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
