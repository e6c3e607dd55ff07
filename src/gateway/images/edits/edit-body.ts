import type { ArrivingImage } from './arriving-image.js';

/** A reference image as it was sent. Uploaded images are structurally complete but not decoded yet. */
export type SentImage = {
  /** The name by which the client recognises it: `image[1]`, `images[0].image_url`. */
  readonly param: string;
  readonly source: { readonly image: ArrivingImage } | { readonly url: string };
};

/** The content of an edit's body, the same for both media types. */
export type EditBody = {
  /** Every parameter except the images, with the types that JSON would have. */
  readonly members: Readonly<Record<string, unknown>>;
  /** The name of the images in this media type. */
  readonly imagesName: 'image' | 'images';
  /** The images in the order in which they were sent. */
  readonly images: readonly SentImage[];
};

/**
 * The largest body of an edit, which has room for eight large photos. OpenAI accepts sixteen images of 50 MB, or 800 MB in one call;
 * models here accept four, and use no more than four megapixels of them.
 */
export const EDIT_BODY_BYTES_MAX = 32 * 1_048_576;
/** The beginning of a data URL, before the base64 of the image. */
export const DATA_URL_HEAD = /^data:image\/[a-z+.-]{1,20};base64,/i;
/** OpenAI's limit. The model's own, smaller limit is checked later, with a message that names it. */
export const SENT_IMAGES_MAX = 16;
