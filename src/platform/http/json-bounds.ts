import { BodyTooComplexError } from '../errors/common.errors.js';

/** The deepest body that a route takes has three levels, the deepest event of Stripe about ten. */
export const JSON_DEPTH_MAX = 32;
/**
 * A batch of 1,000 debits with every member that a debit has comes to 8,000. All later work (parsing, reading into a class,
 * validation) grows with this number, so it bounds all of it.
 */
export const JSON_MEMBERS_MAX = 10_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Refuses text of JSON that is nested too deeply, or has too many members and items, before it is parsed: `JSON.parse` cannot
 * be bounded, and a reviver would see the values only after all of them were made. One pass over the bytes, which ends at
 * the bound. It checks no syntax: whether this is JSON at all, the parser decides.
 *
 * @returns how many members and items there are, the lists and objects themselves included.
 * @throws BodyTooComplexError
 */
export function refuseComplexJson(bytes: Uint8Array): number {
  let depth = 0;
  let members = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    switch (bytes[at]) {
      case QUOTE:
        at = endOfString(bytes, at);
        continue;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth += 1;
        if (depth > JSON_DEPTH_MAX)
          throw new BodyTooComplexError(`is nested deeper than ${JSON_DEPTH_MAX} levels`);
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        depth -= 1;
        continue;
      case COMMA:
        break;
      default:
        continue;
    }
    members += 1;
    if (members > JSON_MEMBERS_MAX)
      throw new BodyTooComplexError(`has more than ${JSON_MEMBERS_MAX} members`);
  }
  return members;
}

/** Where the string that begins at `start` ends; the end of all bytes for one that does not. */
function endOfString(bytes: Uint8Array, start: number): number {
  // Most strings are short and without escapes, but an image in base64 has millions of characters: `indexOf` skips those.
  for (let end = bytes.indexOf(QUOTE, start + 1); end !== -1; end = bytes.indexOf(QUOTE, end + 1)) {
    let backslashes = 0;
    while (bytes[end - 1 - backslashes] === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return bytes.length;
}
