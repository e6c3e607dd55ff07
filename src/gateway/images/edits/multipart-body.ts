import { Busboy, type BusboyFileStream, type BusboyInstance } from '@fastify/busboy';
import {
  InvalidRequestError,
  MalformedBodyError,
  PayloadTooLargeError,
} from '../../../platform/errors/common.errors.js';
import { BODY_LIMIT_BYTES, readChunks, type UnreadBody } from '../../../platform/http/request-bodies.js';
import { PROMPT_CHARS_MAX, invalid } from '../calls/image-request.js';
import { EDIT_BODY_BYTES_MAX, SENT_IMAGES_MAX, type EditBody } from './edit-body.js';
import { ArrivingImages, REFERENCE_BYTES_MAX, type ArrivingImage } from './arriving-image.js';
import { TooMuchTextError, tooManyReferences } from './edit.errors.js';

/** One file is called `image`, several `image[]` by OpenAI's SDKs; other clients repeat `image`. */
const IMAGE_NAMES: readonly string[] = ['image', 'image[]'];
/** OpenAI defines fifteen. */
const FIELDS_MAX = 32;
const NAME_CHARS_MAX = 100;
/** The longest prompt, with four bytes for each character. */
const FIELD_BYTES_MAX = 4 * PROMPT_CHARS_MAX;
/** A part has a disposition and a type, and some clients add a length or an encoding. */
const PART_HEADERS_MAX = 16;
const PART_HEADER_BYTES_MAX = 8_192;

const FORM = 'well-formed multipart/form-data';

const INTEGERS: readonly string[] = ['n', 'partial_images', 'output_compression'];
const BOOLEANS: readonly string[] = ['stream'];

/**
 * Reads `multipart/form-data`. Its parts may have any order, so files are interpreted when all of them have arrived. In addition to its
 * images it may have as many bytes as the body of any other route. Throws `InvalidRequestError`, `MalformedBodyError` or
 * `PayloadTooLargeError`.
 */
export async function readMultipartBody(
  body: UnreadBody,
  arriving = new ArrivingImages(),
): Promise<EditBody> {
  const form = new Form(openParser(body.contentType), arriving);
  await readChunks(body, EDIT_BODY_BYTES_MAX, (chunk) => form.write(chunk));
  return form.end();
}

function openParser(contentType: string): BusboyInstance {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      // One more than allowed is accepted here, so that the error can name the parameter.
      limits: {
        files: SENT_IMAGES_MAX + 1,
        fields: FIELDS_MAX,
        parts: SENT_IMAGES_MAX + 1 + FIELDS_MAX,
        fileSize: REFERENCE_BYTES_MAX,
        fieldSize: FIELD_BYTES_MAX,
        headerPairs: PART_HEADERS_MAX,
        headerSize: PART_HEADER_BYTES_MAX,
      },
    });
  } catch {
    // The content type names no boundary.
    throw new MalformedBodyError(FORM);
  }
}

class Form {
  private readonly members = new Map<string, unknown>();
  private readonly images: ArrivingImage[] = [];
  private readonly finished: Promise<void>;
  private fault: Error | null = null;
  /** The whole body has arrived. */
  private isOver = false;
  private bytes = 0;
  /** How many of these bytes belong to images. */
  private imageBytes = 0;

  constructor(
    private readonly parser: BusboyInstance,
    private readonly arriving: ArrivingImages,
  ) {
    parser.on('file', (name, file) => this.guard(() => this.file(name, file)));
    parser.on('field', (name, value, _nameIsCut, valueIsCut) =>
      this.guard(() => this.field(name, value, valueIsCut)),
    );
    for (const limit of ['partsLimit', 'fieldsLimit'] as const) {
      parser.on(limit, () =>
        this.fail(new InvalidRequestError('The form has too many parts. Nothing was charged.')),
      );
    }
    parser.on('filesLimit', () =>
      this.fail(tooManyReferences('image', this.images.length + 1, SENT_IMAGES_MAX)),
    );
    this.finished = new Promise((resolve, reject) => {
      parser.once('finish', resolve);
      parser.once('error', reject);
    });
    // `write` or `end` reports the first fault; the rejection of this promise adds nothing.
    this.finished.catch(() => undefined);
  }

  /** Throws for the first fault found so far. */
  write(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.parser.write(chunk);
    if (this.fault !== null) throw this.fault;
    if (this.bytes - this.imageBytes > BODY_LIMIT_BYTES) {
      throw new TooMuchTextError(BODY_LIMIT_BYTES, 'a file called image or image[]');
    }
  }

  async end(): Promise<EditBody> {
    this.isOver = true;
    this.parser.end();
    // This rejects for a body that ends inside a part.
    await this.finished.catch(() => this.fail(new MalformedBodyError(FORM)));
    if (this.fault !== null) throw this.fault;
    const images = this.images.map((image, index, { length }) => {
      const param = length === 1 ? 'image' : `image[${index}]`;
      image.end(param);
      return { param, source: { image } };
    });
    return { members: Object.fromEntries(this.members), imagesName: 'image', images };
  }

  private file(name: string, file: BusboyFileStream): void {
    const image = IMAGE_NAMES.includes(name) ? this.beginImage(name) : null;
    // A file that is no image or is damaged is not read to its end, nor is what follows it.
    file.on('data', (chunk: Buffer) => {
      if (image === null) return;
      this.imageBytes += chunk.length;
      this.guard(() => image.take(chunk));
    });
    file.once('end', () => {
      // The end of the body ends a file as well. In that case the form is cut short, not the image.
      if (!this.isOver) this.guard(() => image?.end());
    });
    file.on('limit', () => this.fail(new PayloadTooLargeError()));
    file.on('error', () => this.fail(new MalformedBodyError(FORM)));
    // The name is kept, because it decides whether the parameter is unsupported or unknown.
    if (image === null) this.set(name, { file: true });
  }

  private beginImage(name: string): ArrivingImage {
    const image = this.arriving.begin(toParam(name, this.images.length));
    this.images.push(image);
    return image;
  }

  private field(name: string, value: string, valueIsCut: boolean): void {
    if (IMAGE_NAMES.includes(name)) throw invalid('image', 'must be a file');
    if (valueIsCut) throw invalid(name.slice(0, NAME_CHARS_MAX), 'is too long');
    this.set(name, typed(name, value));
  }

  private set(name: string | undefined, value: unknown): void {
    if (name === undefined) throw new MalformedBodyError(FORM);
    if (name.length > NAME_CHARS_MAX) throw invalid(name.slice(0, NAME_CHARS_MAX), 'is too long a name');
    if (this.members.has(name)) throw invalid(name, 'was sent more than once');
    this.members.set(name, value);
  }

  private guard(read: () => void): void {
    try {
      read();
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private fail(error: Error): void {
    this.fault ??= error;
  }
}

/** Returns the name of an image while it is not known whether further ones follow. */
function toParam(name: string, index: number): string {
  return name === 'image' && index === 0 ? 'image' : `image[${index}]`;
}

/** Converts the text of a form field to the type that JSON would have. Other text stays as it is and is refused as in JSON. */
function typed(name: string, value: string): unknown {
  if (INTEGERS.includes(name) && /^\d{1,9}$/.test(value)) return Number(value);
  if (BOOLEANS.includes(name) && (value === 'true' || value === 'false')) return value === 'true';
  return value;
}
