import { MalformedBodyError } from '../../../platform/errors/common.errors.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SLASH = 0x2f;
const FIRST_PRINTED = 0x20;
/** The bytes that may follow a backslash and are no letter of base64. A slash and `u` are handled separately. */
const OTHER_ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\bfnrt'));
const UNICODE = 0x75;
const UNICODE_DIGITS = 4;
/** The backslash, `u` and the digits. */
const NUMBER_BYTES = 2 + UNICODE_DIGITS;

/** The value of each base64 letter. As in Node, the URL-safe alphabet is accepted as well. */
const NO_LETTER = -1;
const LETTERS = new Int16Array(256).fill(NO_LETTER);
for (const alphabet of ['+/', '-_']) {
  const letters = `ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789${alphabet}`;
  for (const [value, letter] of Buffer.from(letters).entries()) LETTERS[letter] = value;
}
/** The value of each pair of letters, indexed by both bytes as one number. */
const PAIRS = Int16Array.from({ length: 65_536 }, (_, pair) => {
  const [first, second] = [LETTERS[pair >> 8] as number, LETTERS[pair & 0xff] as number];
  return first === NO_LETTER || second === NO_LETTER ? NO_LETTER : (first << 6) | second;
});

/** The value of each byte as a hexadecimal digit. */
const NO_DIGIT = 0xff;
const DIGITS = new Uint8Array(256).fill(NO_DIGIT);
for (const [digit, byte] of Buffer.from('0123456789abcdef').entries()) DIGITS[byte] = digit;
for (const [digit, byte] of Buffer.from('ABCDEF').entries()) DIGITS[byte] = 10 + digit;

/** How far a piece has been read, and what has been decoded from it. */
type Step = { readonly piece: Buffer; at: number; readonly bytes: Buffer; length: number };

/**
 * Decodes base64 inside a JSON string that arrives in pieces. Characters that are no letter of base64 are skipped, as Node does. Node
 * decodes strings of letters only, which almost all are. From the first escape or other character on, the string is decoded here,
 * which takes about as long for any content, while Node takes up to eight times as long for text with a single other character.
 */
export class Base64Text {
  /** The letters of the group of four that is not complete yet, and their number. */
  private group = 0;
  private grouped = 0;
  private isEscaping = false;
  private code = 0;
  private digitsLeft = 0;

  /** How many characters the parsed string has so far. */
  chars = 0;
  /** How many of them were written as escapes or are no letters of base64. */
  exceptions = 0;

  /**
   * Decodes from `at` to the quote that ends the string, or to the end of the piece.
   *
   * @param plainEnd the end of the part that contains neither a quote nor a backslash.
   * @throws MalformedBodyError when this is no valid JSON string.
   */
  take(piece: Buffer, at: number, plainEnd: number): { readonly bytes: Buffer; readonly end: number } {
    // A group is written as four bytes, of which the next group overwrites the last.
    const bytes = Buffer.allocUnsafe(3 * Math.ceil((this.grouped + piece.length - at) / 4) + 1);
    const step = { piece, at, bytes, length: 0 };
    if (this.exceptions === 0) {
      this.decode(step, Math.min(plainEnd, at + ((4 - this.grouped) % 4)));
      if (this.grouped === 0) this.decodePlain(step, plainEnd);
    }
    this.decode(step, piece.length);
    return { bytes: bytes.subarray(0, step.length), end: step.at };
  }

  /** Decodes the last, incomplete group. */
  end(): Buffer {
    const bits = 6 * this.grouped;
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(bits === 0 ? 0 : this.group << (32 - bits));
    return bytes.subarray(0, bits >> 3);
  }

  /** Lets Node decode the part up to `plainEnd`, or changes nothing when the part does not consist of letters only. */
  private decodePlain(step: Step, plainEnd: number): void {
    const chars = (plainEnd - step.at) & ~3;
    const text = step.piece.toString('latin1', step.at, step.at + chars);
    const written = step.bytes.write(text, step.length, 'base64');
    // Node has written the full number of bytes, so it skipped no character.
    if (4 * written !== 3 * chars) return;
    step.at += chars;
    step.length += written;
    this.chars += chars;
  }

  /** Decodes up to `to`, or to a quote. */
  private decode(step: Step, to: number): void {
    const { piece, bytes } = step;
    const source = new DataView(piece.buffer, piece.byteOffset, piece.length);
    const target = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let { at, length } = step;
    let { group, grouped } = this;
    let letters = 0;
    while (at < to) {
      if (grouped === 0 && !this.isInsideEscape) {
        const from = at;
        for (; at + 4 <= to; at += 4) {
          const four = source.getUint32(at);
          const value = ((PAIRS[four >>> 16] as number) << 12) | (PAIRS[four & 0xffff] as number);
          if (value < 0) break;
          target.setUint32(length, value << 8);
          length += 3;
        }
        letters += at - from;
        if (at === to) break;
      }
      const byte = piece[at] as number;
      let letter = LETTERS[byte] as number;
      const isInside = this.isInsideEscape;
      if (letter !== NO_LETTER && !isInside) letters += 1;
      else if (byte === QUOTE && !isInside) break;
      else if (byte === BACKSLASH && !isInside && piece[at + 1] === UNICODE && at + NUMBER_BYTES <= to) {
        letter = this.readNumber(piece, at);
        at += NUMBER_BYTES - 1;
      } else letter = this.read(byte);
      at += 1;
      if (letter === NO_LETTER) continue;
      group = (group << 6) | letter;
      grouped += 1;
      if (grouped < 4) continue;
      target.setUint32(length, group << 8);
      length += 3;
      group = 0;
      grouped = 0;
    }
    this.chars += letters;
    this.group = group;
    this.grouped = grouped;
    step.at = at;
    step.length = length;
  }

  private get isInsideEscape(): boolean {
    return this.isEscaping || this.digitsLeft > 0;
  }

  /** Returns the value of the letter that this byte is, or that it completes as the end of an escape. */
  private read(byte: number): number {
    if (this.isInsideEscape) return this.readEscape(byte);
    if (byte < FIRST_PRINTED) throw new MalformedBodyError();
    this.isEscaping = byte === BACKSLASH;
    const letter = LETTERS[byte] as number;
    if (letter === NO_LETTER) this.exceptions += 1;
    if (!this.isEscaping) this.chars += 1;
    return letter;
  }

  /** Reads a whole `\uXXXX` escape, which is faster than byte by byte. */
  private readNumber(piece: Buffer, at: number): number {
    const [a, b] = [DIGITS[piece[at + 2] as number] as number, DIGITS[piece[at + 3] as number] as number];
    const [c, d] = [DIGITS[piece[at + 4] as number] as number, DIGITS[piece[at + 5] as number] as number];
    if ((a | b | c | d) === NO_DIGIT) throw new MalformedBodyError();
    this.exceptions += 1;
    this.chars += 1;
    return LETTERS[(a << 12) | (b << 8) | (c << 4) | d] ?? NO_LETTER;
  }

  private readEscape(byte: number): number {
    if (this.isEscaping) {
      this.isEscaping = false;
      if (byte === UNICODE) {
        this.digitsLeft = UNICODE_DIGITS;
        this.code = 0;
        return NO_LETTER;
      }
      if (byte !== SLASH && !OTHER_ESCAPES.has(byte)) throw new MalformedBodyError();
      this.chars += 1;
      return byte === SLASH ? (LETTERS[SLASH] as number) : NO_LETTER;
    }
    const digit = DIGITS[byte] as number;
    if (digit === NO_DIGIT) throw new MalformedBodyError();
    this.code = 16 * this.code + digit;
    this.digitsLeft -= 1;
    if (this.digitsLeft > 0) return NO_LETTER;
    this.chars += 1;
    return LETTERS[this.code] ?? NO_LETTER;
  }
}
