import { randomUUID } from 'node:crypto';
import { decodeBase64 } from '../calls/base64.js';

/** Gives access to the members of an unknown value; a value that is no object has none. */
export function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Replaces the bytes that were taken out while the rest is parsed. It is random, so an upstream cannot send it. */
const PLACEHOLDER = randomUUID();

/**
 * Parses JSON; returns undefined when it is not valid. The first string with the name `large` is returned as bytes, a view of `body`:
 * an image in base64 is most of an answer, and this avoids a string of its size.
 */
export function parseJson(body: Buffer, large?: string): unknown {
  const text = large === undefined ? null : findText(body, large);
  try {
    if (text === null) return JSON.parse(body.toString('utf8'));
    const rest = body.toString('utf8', 0, text.begin) + PLACEHOLDER + body.toString('utf8', text.end);
    const bytes = body.subarray(text.begin, text.end);
    return JSON.parse(rest, (_name, value: unknown) => (value === PLACEHOLDER ? bytes : value));
  } catch {
    return undefined;
  }
}

/** Finds the string with that name, without its quotes; null when there is none or it contains escapes. */
function findText(body: Buffer, name: string): { readonly begin: number; readonly end: number } | null {
  const nameAt = body.indexOf(JSON.stringify(name));
  if (nameAt === -1) return null;
  const head = /^\s*:\s*"/.exec(body.toString('latin1', nameAt + name.length + 2, nameAt + name.length + 66));
  if (head === null) return null;
  const begin = nameAt + name.length + 2 + head[0].length;
  const end = body.indexOf(QUOTE, begin);
  // Only the parser can read escapes.
  return end === -1 || body.subarray(begin, end).includes(BACKSLASH) ? null : { begin, end };
}

/** Decodes base64 text with or without a `data:` prefix; returns null for anything else. */
export function readBase64(value: unknown): Buffer | null {
  const text = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  if (!Buffer.isBuffer(text)) return null;
  const isDataUrl = text.toString('latin1', 0, 5) === 'data:';
  const bytes = decodeBase64(isDataUrl ? text.subarray(text.indexOf(',') + 1) : text);
  return bytes.length > 0 ? bytes : null;
}

/** Returns whole seconds from 1 to 60; null when the provider does not name them. */
export function readRetryAfter(retryAfter: unknown): number | null {
  const seconds = Number(retryAfter ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), 60) : null;
}
