import { toMediaName } from '../media/media-name.js';
import type { MediaStore } from '../media/media-store.js';
import type { DeliveredImage, GenerationKey } from './records/generation.js';

/** An image of an answer, which is either in memory or in the store. */
export type AnswerImage = {
  readonly bytes: number;
  /** Null when the image is read from the store while the answer is sent. */
  readonly inMemory: Buffer | null;
  /** Reads the bytes of the image in chunks of any size. */
  readonly read: () => AsyncIterable<Buffer> | Iterable<Buffer>;
};

export function imageInMemory(image: Buffer): AnswerImage {
  return { bytes: image.length, inMemory: image, read: () => [image] };
}

/**
 * `image.bytes` must be its length in the store. `read` throws when the store no longer has the image, or has one of another
 * length under its name.
 */
export function imageInStore(
  media: MediaStore,
  generation: Pick<GenerationKey, 'id'>,
  image: Pick<DeliveredImage, 'position' | 'format' | 'bytes'>,
): AnswerImage {
  return { bytes: image.bytes, inMemory: null, read: () => readStored(media, generation, image) };
}

async function* readStored(
  media: MediaStore,
  generation: Pick<GenerationKey, 'id'>,
  image: Pick<DeliveredImage, 'position' | 'format' | 'bytes'>,
): AsyncGenerator<Buffer> {
  const found = await media.open(toMediaName(generation, image));
  if (found === null) throw new Error('a stored image is gone');
  try {
    if (found.bytes !== image.bytes) throw new Error('a stored image is not as long as it was');
    yield* found.stream as AsyncIterable<Buffer>;
  } finally {
    found.stream.destroy();
  }
}
