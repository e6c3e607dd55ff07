import { MalformedBodyError } from '../../problems/common.errors.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SLASH = 0x2f;
const FIRST_PRINTED = 0x20;
/** After a backslash: those that stand for no letter of base64. A slash and `u` are looked at by themselves. */
const OTHER_ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\bfnrt'));
const UNICODE = 0x75;
/** As serializers write them: .NET escapes the plus and PHP the slash, and others break base64 into lines. */
const USUAL_ESCAPES = [
  ['\\u002b', '+'],
  ['\\u002B', '+'],
  ['\\/', '/'],
  ['\\r', ''],
  ['\\n', ''],
] as const;
const UNICODE_DIGITS = 4;

/** Letters of base64, of the one for addresses too, as Node reads it. */
const LETTERS = /^[A-Za-z0-9+/_-]*$/;
const IS_LETTER = new Uint8Array(256);
for (let byte = 0; byte < 128; byte += 1) IS_LETTER[byte] = LETTERS.test(String.fromCharCode(byte)) ? 1 : 0;

/** What a byte is worth as a hexadecimal digit. */
const NO_DIGIT = 0xff;
const DIGITS = new Uint8Array(256).fill(NO_DIGIT);
for (const [digit, byte] of Buffer.from('0123456789abcdef').entries()) DIGITS[byte] = digit;
for (const [digit, byte] of Buffer.from('ABCDEF').entries()) DIGITS[byte] = 10 + digit;

/**
 * Decodes base64 inside a text of JSON that comes in pieces. What is no letter of base64 is passed over, as Node does. Almost all
 * pieces are letters only: those are decoded at once, the others byte by byte.
 */
export class Base64Text {
  /** Fewer than four letters, which make bytes with those that follow. */
  private pending = '';
  private isEscaping = false;
  private code = 0;
  private digitsLeft = 0;

  /** Characters and escapes so far, as the text would have them once it is parsed. */
  chars = 0;
  escapes = 0;

  get isInsideEscape(): boolean {
    return this.isEscaping || this.digitsLeft > 0;
  }

  /** @param text without a quote or a backslash. */
  takePlain(text: Buffer): Buffer {
    const bytes = this.decode(text.toString('latin1'));
    if (bytes === null) return this.takeByteByByte(text, 0).bytes;
    this.chars += text.length;
    return bytes;
  }

  /** Null, and nothing is taken, where there is something else than letters. */
  private decode(text: string): Buffer | null {
    const letters = this.pending + text;
    const length = letters.length - (letters.length % 4);
    const bytes = Buffer.from(letters.slice(0, length), 'base64');
    const rest = letters.slice(length);
    // As many bytes as so many letters make: nothing was passed over.
    if (4 * bytes.length !== 3 * length || !LETTERS.test(rest)) return null;
    this.pending = rest;
    return bytes;
  }

  /**
   * From `at` to the quote that ends the text, or to the end of the piece.
   *
   * @throws MalformedBodyError for what is no text of JSON.
   */
  takeEscaped(piece: Buffer, at: number): { readonly bytes: Buffer; readonly end: number } {
    return (this.isInsideEscape ? null : this.takeUsual(piece, at)) ?? this.takeByteByByte(piece, at);
  }

  /**
   * A third of the work of going byte by byte: a serializer writes one or two kinds of escapes, each of which is read at once. Null, and nothing is taken, where there are other escapes or characters: their backslashes are
   * no letters, nor is that of an escape which the piece does not end.
   */
  private takeUsual(piece: Buffer, at: number): { readonly bytes: Buffer; readonly end: number } | null {
    const quote = piece.indexOf(QUOTE, at);
    const end = quote === -1 ? piece.length : quote;
    let text = piece.toString('latin1', at, end);
    let escapes = 0;
    let chars = 0;
    const left = new Set(USUAL_ESCAPES);
    for (let first = text.indexOf('\\'); first !== -1; first = text.indexOf('\\')) {
      const usual = [...left].find(([written]) => text.startsWith(written, first));
      // One that is there again was made by what came before it, such as the second half of two backslashes.
      if (usual === undefined) return null;
      left.delete(usual);
      const [written, letter] = usual;
      const read = text.replaceAll(written, letter);
      const count = (text.length - read.length) / (written.length - letter.length);
      escapes += count;
      chars += letter === '' ? count : 0;
      text = read;
    }
    const bytes = this.decode(text);
    if (bytes === null) return null;
    this.escapes += escapes;
    this.chars += chars + text.length;
    return { bytes, end };
  }

  private takeByteByByte(piece: Buffer, at: number): { readonly bytes: Buffer; readonly end: number } {
    const letters = Buffer.allocUnsafe(piece.length - at);
    let count = 0;
    let others = 0;
    let end = at;
    let isInside = this.isInsideEscape;
    for (const { length } = piece; end < length; end += 1) {
      let byte = piece[end] as number;
      // A loop of its own: almost all bytes are letters.
      while (!isInside && IS_LETTER[byte] === 1) {
        letters[count++] = byte;
        end += 1;
        if (end === length) break;
        byte = piece[end] as number;
      }
      if (end === length) break;
      if (isInside) {
        const letter = this.unescape(byte);
        isInside = this.isInsideEscape;
        if (IS_LETTER[letter] === 1) letters[count++] = letter;
        else if (!isInside) others += 1;
      } else if (byte === QUOTE) break;
      else if (byte === BACKSLASH) {
        isInside = true;
        this.isEscaping = true;
        this.escapes += 1;
      } else if (byte < FIRST_PRINTED) throw new MalformedBodyError();
      else others += 1;
    }
    this.chars += count + others;
    const text = this.pending + letters.toString('latin1', 0, count);
    const length = text.length - (text.length % 4);
    this.pending = text.slice(length);
    return { bytes: Buffer.from(text.slice(0, length), 'base64'), end };
  }

  /** What the last letters make. */
  end(): Buffer {
    return Buffer.from(this.pending, 'base64');
  }

  /** What an escape stands for at its last byte; 0 before, and where that is no letter of base64. */
  private unescape(byte: number): number {
    if (this.isEscaping) {
      this.isEscaping = false;
      if (byte === UNICODE) {
        this.digitsLeft = UNICODE_DIGITS;
        this.code = 0;
      } else if (byte !== SLASH && !OTHER_ESCAPES.has(byte)) throw new MalformedBodyError();
      return byte === SLASH ? SLASH : 0;
    }
    const digit = DIGITS[byte] ?? NO_DIGIT;
    if (digit === NO_DIGIT) throw new MalformedBodyError();
    this.code = 16 * this.code + digit;
    this.digitsLeft -= 1;
    return this.digitsLeft === 0 && this.code < IS_LETTER.length ? this.code : 0;
  }
}
