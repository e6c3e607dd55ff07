import { decodeInput, type InputImage, type Size } from './input-image.js';
import { problem, UpstreamHttpError, type ValidationProblem } from './http-error.js';

export const OUTPUT_FORMATS = ['jpeg', 'png', 'webp'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** A checked request to make one image. */
export type SubmitParameters = {
  readonly prompt: string;
  readonly width: number;
  readonly height: number;
  readonly seed: number | null;
  readonly outputFormat: OutputFormat;
  /** Pixels of all reference images together. */
  readonly inputPixels: number;
  /** Of the reference images, in the order of their parameters. */
  readonly thumbnails: readonly Buffer[];
};

const SIDE_MIN = 64;
const INPUT_ASPECT_MAX = 8;
const SIDE_STEP = 16;
const SIDE_DEFAULT = 1_024;
/** Four megapixels. */
const PIXELS_MAX = 4 * 1_048_576;
const SAFETY_TOLERANCE_MAX = 5;
const URL_LENGTH_MAX = 2_083;

const INPUT_IMAGES = ['input_image', 'input_image_2', 'input_image_3', 'input_image_4'] as const;
const KNOWN: ReadonlySet<string> = new Set([
  'prompt',
  ...INPUT_IMAGES,
  'seed',
  'width',
  'height',
  'safety_tolerance',
  'output_format',
  'webhook_url',
  'webhook_secret',
]);

type Body = Readonly<Record<string, unknown>>;

/** Collects what is wrong with every member, as FastAPI does, instead of stopping at the first. */
class Reader {
  readonly problems: ValidationProblem[] = [];

  constructor(private readonly body: Body) {}

  refuse(name: string, type: string, msg: string): void {
    this.problems.push(problem(type, ['body', name], msg));
  }

  text(name: string): string | null {
    const value = this.body[name] ?? null;
    if (value === null || typeof value === 'string') return value;
    this.refuse(name, 'string_type', 'Input should be a valid string');
    return null;
  }

  integer(name: string, min: number, max: number): number | null {
    const value = this.body[name] ?? null;
    if (value === null) return null;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      this.refuse(name, 'int_type', 'Input should be a valid integer');
    } else if (!Number.isSafeInteger(value)) {
      this.refuse(
        name,
        'int_from_float',
        'Input should be a valid integer, got a number with a fractional part',
      );
    } else if (value < min) {
      this.refuse(name, 'greater_than_equal', `Input should be greater than or equal to ${min}`);
    } else if (value > max) {
      this.refuse(name, 'less_than_equal', `Input should be less than or equal to ${max}`);
    } else {
      return value;
    }
    return null;
  }
}

/**
 * Checks a body against `Flux2KleinInputs`. Throws `UpstreamHttpError` 422 naming every bad parameter.
 * FastAPI ignores unknown members; `refuseUnknown` refuses them, so that a parameter which this model does
 * not have (`n`, `steps`, `aspect_ratio` …) is noticed in a test and not on an invoice.
 */
export async function readSubmitParameters(body: unknown, refuseUnknown: boolean): Promise<SubmitParameters> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new UpstreamHttpError(422, [
      problem(
        'model_attributes_type',
        ['body'],
        'Input should be a valid dictionary or object to extract fields from',
      ),
    ]);
  }
  const members = body as Body;
  const reader = new Reader(members);
  const prompt = readPrompt(reader, members);
  const inputs = await readInputImages(reader);
  const size = readSize(reader, inputs);
  const seed = reader.integer('seed', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  reader.integer('safety_tolerance', 0, SAFETY_TOLERANCE_MAX);
  const outputFormat = readOutputFormat(reader);
  refuseWebhooks(reader);
  for (const name of Object.keys(members)) {
    if (refuseUnknown && !KNOWN.has(name)) {
      reader.refuse(name, 'extra_forbidden', 'Extra inputs are not permitted');
    }
  }
  if (reader.problems.length > 0) throw new UpstreamHttpError(422, reader.problems);
  const inputPixels = inputs.reduce((sum, { width, height }) => sum + width * height, 0);
  const thumbnails = inputs.map(({ thumbnail }) => thumbnail);
  return { prompt, ...size, seed, outputFormat, inputPixels, thumbnails };
}

function readPrompt(reader: Reader, members: Body): string {
  if (members['prompt'] === undefined) reader.refuse('prompt', 'missing', 'Field required');
  if (members['prompt'] === null) reader.refuse('prompt', 'string_type', 'Input should be a valid string');
  return reader.text('prompt') ?? '';
}

function readOutputFormat(reader: Reader): OutputFormat {
  const asked = reader.text('output_format');
  const found = OUTPUT_FORMATS.find((format) => format === asked);
  if (asked !== null && found === undefined) {
    reader.refuse('output_format', 'enum', "Input should be 'jpeg', 'png' or 'webp'");
  }
  return found ?? 'jpeg';
}

/** Without a size the result follows the first reference image, or is a megapixel. */
function readSize(reader: Reader, inputs: readonly Size[]): Size {
  const [input] = inputs;
  const asked = (name: 'height' | 'width'): number => {
    const found = reader.integer(name, SIDE_MIN, Number.MAX_SAFE_INTEGER);
    if (found === null) return Math.max(SIDE_MIN, roundDown(input?.[name] ?? SIDE_DEFAULT));
    if (found % SIDE_STEP !== 0) {
      reader.refuse(name, 'multiple_of', `Input should be a multiple of ${SIDE_STEP}`);
    }
    return found;
  };
  const size = { width: asked('width'), height: asked('height') };
  if (size.width * size.height > PIXELS_MAX) {
    reader.refuse(
      'width',
      'value_error',
      'Value error, width and height may be at most 4 megapixels together',
    );
  }
  return size;
}

function roundDown(side: number): number {
  return Math.floor(side / SIDE_STEP) * SIDE_STEP;
}

async function readInputImages(reader: Reader): Promise<readonly InputImage[]> {
  const images: InputImage[] = [];
  for (const name of INPUT_IMAGES) {
    const value = reader.text(name);
    if (value === null) continue;
    const image = /^https?:/i.test(value) ? null : await decodeInput(value);
    if (image === null) {
      reader.refuse(
        name,
        'value_error',
        'Value error, the sandbox takes base64 images only, and this is none',
      );
    } else if (isTooSmall(image)) {
      reader.refuse(
        name,
        'value_error',
        `Value error, image sides must be at least ${SIDE_MIN} and within 1:8`,
      );
    } else {
      images.push(image);
    }
  }
  return images;
}

/** `cap_min_pixels` of the model's published code (github.com/black-forest-labs/flux2, src/flux2/sampling.py). */
function isTooSmall({ width, height }: Size): boolean {
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  return short < SIDE_MIN || long > INPUT_ASPECT_MAX * short;
}

function refuseWebhooks(reader: Reader): void {
  const url = reader.text('webhook_url');
  reader.text('webhook_secret');
  if (url === null) return;
  if (!URL.canParse(url)) return reader.refuse('webhook_url', 'url_parsing', 'Input should be a valid URL');
  if (url.length > URL_LENGTH_MAX) {
    return reader.refuse(
      'webhook_url',
      'url_too_long',
      `URL should have at most ${URL_LENGTH_MAX} characters`,
    );
  }
  reader.refuse(
    'webhook_url',
    'sandbox_not_simulated',
    'the sandbox sends no webhooks; poll polling_url instead',
  );
}
