import { readJson, readChunks, type UnreadBody } from '../../../platform/http/request-bodies.js';
import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import { invalid } from '../calls/image-request.js';
import { detectFormat } from '../media/verify-image.js';
import {
  DATA_URL_HEAD,
  EDIT_BODY_BYTES_MAX,
  SENT_IMAGES_MAX,
  type EditBody,
  type SentImage,
} from './edit-body.js';
import { ArrivingImages, type ArrivingImage } from './arriving-image.js';
import { InvalidImageError, notAnImage, tooManyReferences } from './edit.errors.js';
import { JsonImageTexts } from './json-image-texts.js';

/** Servers do not accept longer URLs. */
const ADDRESS_CHARS_MAX = 8_192;
/** This much of the base64 is enough to recognise the format, with or without line ends. */
const DATA_URL_BEGINNING = 64;

/** Reads `application/json`. Throws `InvalidRequestError`, `MalformedBodyError` or `PayloadTooLargeError`. */
export async function readJsonBody(body: UnreadBody, arriving = new ArrivingImages()): Promise<EditBody> {
  const texts = new JsonImageTexts(arriving);
  await readChunks(body, EDIT_BODY_BYTES_MAX, (chunk) => texts.take(chunk));
  const value = readJson(texts.json());
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InvalidRequestError('The body must be a JSON object. Nothing was charged.');
  }
  const { images = null, ...members } = value as Readonly<Record<string, unknown>>;
  return { members, imagesName: 'images', images: readImages(images, { texts, arriving }) };
}

type Arrived = { readonly texts: JsonImageTexts; readonly arriving: ArrivingImages };

function readImages(images: unknown, arrived: Arrived): readonly SentImage[] {
  if (images === null) return [];
  if (!Array.isArray(images)) throw invalid('images', 'must be a list');
  if (images.length > SENT_IMAGES_MAX) throw tooManyReferences('images', images.length, SENT_IMAGES_MAX);
  return images.map((image: unknown, index) => readImage(image, `images[${index}]`, arrived));
}

function readImage(image: unknown, param: string, { texts, arriving }: Arrived): SentImage {
  if (typeof image !== 'object' || image === null || Array.isArray(image))
    throw invalid(param, 'must be an object');
  const {
    image_url: url = null,
    file_id: fileId = null,
    ...others
  } = image as Readonly<Record<string, unknown>>;
  const [other] = Object.keys(others);
  if (other !== undefined) throw invalid(param, 'takes image_url and nothing else');
  if (fileId !== null) {
    throw new InvalidRequestError(
      `${param}.file_id cannot be used: there are no files here. Send image_url. Nothing was charged.`,
      `${param}.file_id`,
      'unsupported_parameter',
    );
  }
  const name = `${param}.image_url`;
  if (typeof url !== 'string') throw invalid(name, 'is required and must be a string');
  if (/^data:/i.test(url)) {
    return { param: name, source: { image: texts.imageIn(url) ?? decode(url, arriving.begin(name), name) } };
  }
  if (url.length > ADDRESS_CHARS_MAX)
    throw invalid(name, `must be at most ${ADDRESS_CHARS_MAX} characters long`);
  return { param: name, source: { url } };
}

/** Decodes a string that `JsonImageTexts` left in the body, because it was too short or is no image. */
function decode(url: string, image: ArrivingImage, param: string): ArrivingImage {
  const [head] = DATA_URL_HEAD.exec(url) ?? [];
  if (head === undefined) throw new InvalidImageError(param, 'must be a data URL of an image in base64');
  const text = url.slice(head.length);
  const beginning = Buffer.from(text.slice(0, DATA_URL_BEGINNING), 'base64');
  if (text.length > DATA_URL_BEGINNING && detectFormat(beginning) === null) throw notAnImage(param);
  image.take(Buffer.from(text, 'base64'));
  image.end();
  return image;
}
