import { isIPv6 } from 'node:net';

/**
 * Returns the group that an address is counted under. An IPv4 address is its own group. An IPv6 address belongs to its
 * /64: the client can choose the last half freely, so counting whole addresses would limit nothing.
 */
export function addressGroup(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [withoutZone = ''] = address.split('%', 1);
  const [head = '', tail] = withoutZone.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const parts = [...before, ...Array<string>(Math.max(zeros, 0)).fill('0'), ...after];
  const network = parts.slice(0, 4).map((part) => part.replace(/^0+(?=.)/, '').toLowerCase());
  return `${network.join(':')}::/64`;
}
