import { randomUUID } from 'node:crypto';
import { decodeBase64 } from '../calls/base64.js';

/** What may be anything, read member by member. */
export function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Replaces what was taken out while the rest is parsed. No upstream can know it. */
const PLACEHOLDER = randomUUID();

/**
 * What a JSON text says; undefined when it is none. The first text under the name `large` stays the bytes that it came as,
 * a view of `body`: an image in base64 is nine tenths of its answer, and no string of its size is made of it.
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

/** Where the text under that name is, without its quotes; null when it is not there as plain bytes. */
function findText(body: Buffer, name: string): { readonly begin: number; readonly end: number } | null {
  const nameAt = body.indexOf(JSON.stringify(name));
  if (nameAt === -1) return null;
  const head = /^\s*:\s*"/.exec(body.toString('latin1', nameAt + name.length + 2, nameAt + name.length + 66));
  if (head === null) return null;
  const begin = nameAt + name.length + 2 + head[0].length;
  const end = body.indexOf(QUOTE, begin);
  // What is escaped has to be read by the parser.
  return end === -1 || body.subarray(begin, end).includes(BACKSLASH) ? null : { begin, end };
}

/** The decoded bytes of base64 text, also behind a `data:` prefix; null for anything else. */
export function readBase64(value: unknown): Buffer | null {
  const text = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  if (!Buffer.isBuffer(text)) return null;
  const isDataUrl = text.toString('latin1', 0, 5) === 'data:';
  const bytes = decodeBase64(isDataUrl ? text.subarray(text.indexOf(',') + 1) : text);
  return bytes.length > 0 ? bytes : null;
}

/** Whole seconds from 1 to 60; null when the provider does not say. */
export function readRetryAfter(told: unknown): number | null {
  const seconds = Number(told ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), 60) : null;
}
