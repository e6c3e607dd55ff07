import { BODY_LIMIT_BYTES } from '../../http/json-body.js';
import { formatOf } from '../media/verify-image.js';
import { DATA_URL_HEAD } from './edit-body.js';
import { TooMuchBesideImagesError } from './edit.errors.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** An image in base64 is told by so much of its text: the type, and the first bytes of the image. */
const BEGINNING_BYTES = 160;
/** What an escape inside an image counts: it costs more than a plain byte. A third of a million of them, in 20 MiB of base64, pass. */
const BYTES_OF_ESCAPE = 2;

/**
 * Bounds a JSON body while it comes: beside texts that begin like an image in base64, it may have as many bytes as the body of
 * any other route. So nothing is waited for, joined, decoded and parsed in vain that is large and no image. It checks no syntax;
 * of what is no JSON, the parser tells.
 */
export class JsonImageTexts {
  private isText = false;
  /** Of the text that is being read. */
  private readonly beginning = Buffer.alloc(BEGINNING_BYTES);
  private beginningBytes = 0;
  private isImage = false;
  /** The last byte was a backslash inside a text. */
  private isEscaping = false;
  private otherBytes = 0;

  /** Throws `TooMuchBesideImagesError`. */
  take(chunk: Buffer): void {
    const ends = { quotes: new Occurrences(chunk, QUOTE), backslashes: new Occurrences(chunk, BACKSLASH) };
    for (let at = 0; at < chunk.length;) {
      if (this.isImage) {
        at = this.skipImage(chunk, at, ends);
      } else {
        this.count(1);
        this.read(chunk[at] ?? 0);
        at += 1;
      }
    }
  }

  private read(byte: number): void {
    if (!this.isText) {
      this.isText = byte === QUOTE;
      this.beginningBytes = 0;
    } else if (byte === QUOTE && !this.isEscaping) {
      this.isText = false;
    } else {
      this.isEscaping = byte === BACKSLASH && !this.isEscaping;
      if (!this.isEscaping) this.addToBeginning(byte);
    }
  }

  private addToBeginning(byte: number): void {
    if (this.beginningBytes === BEGINNING_BYTES) return;
    this.beginning[this.beginningBytes] = byte;
    this.beginningBytes += 1;
    this.isImage = this.beginningBytes === BEGINNING_BYTES && isImageInBase64(this.beginning);
  }

  /** To the end of an image's text, or of the chunk, or behind the next backslash. In base64 only slashes are ever escaped. */
  private skipImage(chunk: Buffer, at: number, { quotes, backslashes }: Ends): number {
    if (this.isEscaping) {
      this.isEscaping = false;
      return at + 1;
    }
    const end = Math.min(quotes.from(at), backslashes.from(at));
    if (chunk[end] === QUOTE) {
      this.isText = false;
      this.isImage = false;
    } else if (end < chunk.length) {
      this.isEscaping = true;
      this.count(BYTES_OF_ESCAPE);
    }
    return end + 1;
  }

  private count(bytes: number): void {
    this.otherBytes += bytes;
    if (this.otherBytes > BODY_LIMIT_BYTES) throw new TooMuchBesideImagesError(BODY_LIMIT_BYTES);
  }
}

type Ends = { readonly quotes: Occurrences; readonly backslashes: Occurrences };

function isImageInBase64(beginning: Buffer): boolean {
  const text = beginning.toString('latin1');
  const [head] = DATA_URL_HEAD.exec(text) ?? [];
  return head !== undefined && formatOf(Buffer.from(text.slice(head.length), 'base64')) !== null;
}

/** Where a byte occurs, asked for from the front to the back: each byte of the chunk is looked at once. */
class Occurrences {
  private next = -1;

  constructor(
    private readonly chunk: Buffer,
    private readonly byte: number,
  ) {}

  /** The first at or behind `at`; the length of the chunk when there is none. */
  from(at: number): number {
    if (this.next < at) {
      const found = this.chunk.indexOf(this.byte, at);
      this.next = found === -1 ? this.chunk.length : found;
    }
    return this.next;
  }
}
