import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Principal } from './principal.js';

/**
 * The format of an API key: `sk-cof-` (account) or `op-cof-` (operator), 256 random bits as 43 base62 digits,
 * and a CRC-32 of all that as 6 base62 digits.
 *
 * The prefix and the checksum are for programs that search for leaked secrets: they recognise a key without
 * a request to Coffer, and a mistyped key is refused without a query. The checksum protects nothing; anyone
 * can compute it. Base62 keeps a key in one piece when it is double-clicked, or pasted into a shell or a URL.
 */
const PREFIXES = { account_key: 'sk-cof-', operator_key: 'op-cof-' } as const satisfies Record<
  Principal['kind'],
  string
>;

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BASE = 62n;
const SECRET_BYTES = 32;
/** 62^43 is just above 2^256. */
const SECRET_DIGITS = 43;
/** 62^6 is above 2^32. */
const CHECKSUM_DIGITS = 6;
const HINT_DIGITS = 4;

export const API_KEY_PATTERN = new RegExp(
  `^(sk|op)-cof-[0-9A-Za-z]{${SECRET_DIGITS}}[0-9A-Za-z]{${CHECKSUM_DIGITS}}$`,
);

/**
 * Makes a new key. The caller returns it once and keeps only its hash.
 *
 * @param entropy 32 random bytes; only tests pass their own.
 */
export function makeApiKey(kind: Principal['kind'], entropy: Uint8Array = randomBytes(SECRET_BYTES)): string {
  if (entropy.length !== SECRET_BYTES) throw new RangeError(`an API key needs ${SECRET_BYTES} random bytes`);
  const body = PREFIXES[kind] + toBase62(BigInt(`0x${Buffer.from(entropy).toString('hex')}`), SECRET_DIGITS);
  return body + computeChecksum(body);
}

/** Returns the kind of key, or null when it cannot be a key: wrong prefix, length, alphabet or checksum. */
export function parseApiKey(text: string): Principal['kind'] | null {
  if (!API_KEY_PATTERN.test(text)) return null;
  const body = text.slice(0, -CHECKSUM_DIGITS);
  if (computeChecksum(body) !== text.slice(-CHECKSUM_DIGITS)) return null;
  return text.startsWith(PREFIXES.account_key) ? 'account_key' : 'operator_key';
}

/**
 * SHA-256 in hexadecimal is all that is ever stored of a key. A slow hash would protect a guessable password;
 * 256 random bits need none, and every request pays for this one.
 */
export function hashApiKey(text: string): string {
  return hash('sha256', text, 'hex');
}

/** Returns the part of a key that may be shown again. The last four digits belong to the checksum and reveal nothing. */
export function apiKeyHint(text: string): string {
  return `${text.slice(0, PREFIXES.account_key.length)}…${text.slice(-HINT_DIGITS)}`;
}

function computeChecksum(body: string): string {
  return toBase62(BigInt(crc32(body)), CHECKSUM_DIGITS);
}

function toBase62(value: bigint, length: number): string {
  let digits = '';
  for (let rest = value; rest > 0n; rest /= BASE) digits = DIGITS.charAt(Number(rest % BASE)) + digits;
  return digits.padStart(length, DIGITS.charAt(0));
}
