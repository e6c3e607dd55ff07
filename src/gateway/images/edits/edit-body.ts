import type { ArrivingImage } from './arriving-image.js';

/** A reference image as it was sent: what has come is whole by its structure, and not decoded yet. */
export type SentImage = {
  /** How the client would find it again: `image[1]`, `images[0].image_url`. */
  readonly param: string;
  readonly source: { readonly image: ArrivingImage } | { readonly url: string };
};

/** What an edit's body says, the same for both kinds of body. */
export type EditBody = {
  /** Every parameter but the images, typed as JSON would have them. */
  readonly members: Readonly<Record<string, unknown>>;
  /** What this kind of body calls the images. */
  readonly imagesName: 'image' | 'images';
  /** In the order sent. */
  readonly images: readonly SentImage[];
};

/**
 * The largest body of an edit, of either kind: eight large photos. OpenAI takes sixteen images of 50 MB, 800 MB in one
 * call; models here take four, and see no more than four megapixels of them.
 */
export const EDIT_BODY_BYTES_MAX = 32 * 1_048_576;
/** What stands before the base64 of an image. */
export const DATA_URL_HEAD = /^data:image\/[a-z+.-]{1,20};base64,/i;
/** OpenAI's; the model's own, smaller bound is told by name. */
export const SENT_IMAGES_MAX = 16;
