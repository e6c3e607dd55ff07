import { BODY_LIMIT_BYTES } from '../../../platform/http/request-bodies.js';
import { detectFormat } from '../media/verify-image.js';
import { invalid } from '../calls/image-request.js';
import { REFERENCE_BYTES_MAX, type ArrivingImage, type ArrivingImages } from './arriving-image.js';
import { Base64Text } from './base64-text.js';
import { SENT_IMAGES_MAX } from './edit-body.js';
import { TooMuchTextError, tooManyReferences } from './edit.errors.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
/** Space, tab, line feed, carriage return. */
const BLANKS: readonly number[] = [0x20, 0x09, 0x0a, 0x0d];

const AN_IMAGE = 'the address of one, or a data URL of a PNG, JPEG or WebP in base64, under image_url';
/** Only strings with this name are images. */
const IMAGE_MEMBER = 'image_url';
/** This much of a string is enough to recognise an image in base64: the type and the first bytes of the image. */
const BEGINNING_BYTES = 160;
/** The length of the longest escape, `\uXXXX`. */
const ESCAPE_BYTES = 6;
const HALF_AN_ESCAPE = /\\u.{0,3}$/;
/** PHP escapes slashes. */
const ESCAPED_DATA_URL_HEAD = /^data:image\\?\/[a-z+.-]{1,20};base64,/i;
/**
 * How much an escape or a character that is no letter of base64 counts inside an image, because it takes as long as many letters. A
 * third of a million are allowed, which is enough for one kind of escape in 20 MiB of base64.
 */
const BYTES_OF_EXCEPTION = 3;
const FEWER_ESCAPES =
  'must have fewer escapes and characters that are not base64: write slashes and plus signs without escapes, or send a form';
/** The string of an image that was taken out ends with this and its number. `#` is no letter of base64. */
const NUMBER = /#(\d{1,2})$/;

type TextImage = { readonly image: ArrivingImage; readonly text: Base64Text; readonly param: string };

/**
 * Takes the images out of a JSON body as bytes while it arrives, so that no string of megabytes is joined or parsed, and a damaged
 * image ends the body. The rest may have as many bytes as the body of any other route. It does not check the syntax; the parser
 * reports invalid JSON.
 */
export class JsonImageTexts {
  private readonly images: ArrivingImage[] = [];
  private readonly rest: Buffer[] = [];
  private restBytes = 0;
  private isText = false;
  /** The beginning of the current or last string, as it was sent. */
  private readonly beginning = Buffer.alloc(BEGINNING_BYTES + ESCAPE_BYTES);
  private beginningBytes = 0;
  /** The last byte was a backslash inside a string. */
  private isEscaping = false;
  /** The last token, if an image may follow it. */
  private last: 'name' | 'colon' | null = null;
  private isImageMember = false;
  private imageMembers = 0;
  private open: TextImage | null = null;

  constructor(private readonly arriving: ArrivingImages) {}

  /** Throws `TooMuchTextError`, and `InvalidImageError` for an image that is damaged. */
  take(chunk: Buffer): void {
    const ends = { quotes: new Occurrences(chunk, QUOTE), backslashes: new Occurrences(chunk, BACKSLASH) };
    let restFrom = 0;
    for (let at = 0; at < chunk.length;) {
      if (this.open !== null) {
        at = this.takeImage(this.open, chunk, at, ends);
        restFrom = at;
        continue;
      }
      this.count(1);
      this.read(chunk[at] ?? 0);
      at += 1;
      if (this.open !== null) {
        // This is copied so that no chunk with images stays in memory.
        this.rest.push(Buffer.from(chunk.subarray(restFrom, at)), Buffer.from(`#${this.images.length}`));
      }
    }
    if (this.open === null) this.rest.push(Buffer.from(chunk.subarray(restFrom)));
  }

  /** The body without its images. */
  json(): Buffer {
    return Buffer.concat(this.rest);
  }

  /** Returns the image that was taken out of this string of the body; null when there is none. */
  imageIn(text: string): ArrivingImage | null {
    const [, number] = NUMBER.exec(text) ?? [];
    return (number === undefined ? undefined : this.images[Number(number)]) ?? null;
  }

  private read(byte: number): void {
    if (!this.isText) this.readBetween(byte);
    else if (byte === QUOTE && !this.isEscaping) {
      this.isText = false;
      const isName = this.beginning.toString('latin1', 0, this.beginningBytes) === IMAGE_MEMBER;
      this.last = isName ? 'name' : null;
    } else {
      this.isEscaping = byte === BACKSLASH && !this.isEscaping;
      this.addToBeginning(byte);
    }
  }

  private readBetween(byte: number): void {
    if (byte === QUOTE) {
      this.isText = true;
      this.beginningBytes = 0;
      this.isImageMember = this.last === 'colon';
      if (this.isImageMember) this.imageMembers += 1;
    } else if (byte === COLON && this.last === 'name') this.last = 'colon';
    else if (!BLANKS.includes(byte)) this.last = null;
  }

  /** Keeps the beginning of the string as it was sent, including escapes. */
  private addToBeginning(byte: number): void {
    if (this.beginningBytes === this.beginning.length) return;
    this.beginning[this.beginningBytes] = byte;
    this.beginningBytes += 1;
    if (!this.isImageMember || this.beginningBytes < BEGINNING_BYTES || this.isEscaping) return;
    const sent = this.beginning.toString('latin1', 0, this.beginningBytes);
    // The rest of the string has to stay valid JSON, so it must not be cut inside an escape.
    if (!HALF_AN_ESCAPE.test(sent)) this.openImage(sent);
  }

  private openImage(sent: string): void {
    const [head] = ESCAPED_DATA_URL_HEAD.exec(sent) ?? [];
    if (head === undefined) return;
    const text = new Base64Text();
    text.chars = head.length;
    const { bytes } = text.take(Buffer.from(sent, 'latin1'), head.length, head.length);
    if (detectFormat(bytes) === null) return;
    if (this.images.length === SENT_IMAGES_MAX) {
      throw tooManyReferences('images', SENT_IMAGES_MAX + 1, SENT_IMAGES_MAX);
    }
    const param = `images[${this.imageMembers - 1}].image_url`;
    const image = this.arriving.begin(param);
    image.take(bytes);
    this.open = { image, text, param };
  }

  /** Reads to the end of an image's string, or of the chunk. */
  private takeImage({ image, text, param }: TextImage, chunk: Buffer, at: number, ends: Ends): number {
    const { exceptions } = text;
    const plainEnd = Math.min(ends.quotes.from(at), ends.backslashes.from(at));
    const { bytes, end } = text.take(chunk, at, plainEnd);
    image.take(bytes);
    this.restBytes += BYTES_OF_EXCEPTION * (text.exceptions - exceptions);
    if (this.restBytes > BODY_LIMIT_BYTES) throw invalid(param, FEWER_ESCAPES);
    if (text.chars > REFERENCE_BYTES_MAX)
      throw invalid(param, `must be at most ${REFERENCE_BYTES_MAX} characters long`);
    if (end < chunk.length) {
      image.take(text.end());
      image.end();
      this.images.push(image);
      this.open = null;
    }
    return end;
  }

  private count(bytes: number): void {
    this.restBytes += bytes;
    if (this.restBytes > BODY_LIMIT_BYTES) throw new TooMuchTextError(BODY_LIMIT_BYTES, AN_IMAGE);
  }
}

type Ends = { readonly quotes: Occurrences; readonly backslashes: Occurrences };

/** Finds the occurrences of a byte. It is called with growing positions, so each byte of the chunk is read once. */
class Occurrences {
  private next = -1;

  constructor(
    private readonly chunk: Buffer,
    private readonly byte: number,
  ) {}

  /** Returns the first occurrence at or after `at`; the length of the chunk when there is none. */
  from(at: number): number {
    if (this.next < at) {
      const found = this.chunk.indexOf(this.byte, at);
      this.next = found === -1 ? this.chunk.length : found;
    }
    return this.next;
  }
}
