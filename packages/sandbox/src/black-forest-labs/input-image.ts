import sharp from 'sharp';

export type Size = { readonly width: number; readonly height: number };

/** A reference image as it arrived: its size, and what the result is to show of it. */
export type InputImage = Size & {
  /** A square of `THUMBNAIL_SIDE`, RGB. */
  readonly thumbnail: Buffer;
};

export const THUMBNAIL_SIDE = 32;

/** Base64, bare or as a data URL. Decoded whole: an image that was cut short on its way here is none, and null. */
export async function decodeInput(base64: string): Promise<InputImage | null> {
  const content = Buffer.from(base64.replace(/^data:image\/[a-z]+;base64,/, ''), 'base64');
  try {
    const { width, height } = await sharp(content).metadata();
    const thumbnail = await sharp(content, { failOn: 'error' })
      .flatten({ background: '#fff' })
      .toColourspace('srgb')
      .resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE, { fit: 'fill' })
      .raw()
      .toBuffer();
    return { width, height, thumbnail };
  } catch {
    return null;
  }
}
