import type { Readable } from 'node:stream';
import type { MediaName } from './media-name.js';

export type StoredImage = { readonly stream: Readable; readonly bytes: number };

/**
 * Stores delivered images. Every method throws `MediaUnavailableError` when the store does not answer in bounded time. No method may
 * be called inside a tx.
 */
export interface MediaStore {
  /**
   * Resolves when the image survives the death of this process or, with `isOnlyCopy`, a crash of the machine, because the provider
   * keeps no copy that could be fetched again. Writing the same name again replaces the image.
   */
  write(name: MediaName, image: Buffer, isOnlyCopy?: boolean): Promise<void>;
  /** Returns null when there is no such image. */
  read(name: MediaName): Promise<Buffer | null>;
  /** Opens an image for an answer that is sent while it is read. The caller has to close the stream. */
  open(name: MediaName): Promise<StoredImage | null>;
  /** Returns the size in bytes; null when there is no such image. */
  getSize(name: MediaName): Promise<number | null>;
  /** Removes an image. It is not an error when there is none. */
  remove(name: MediaName): Promise<void>;
  /**
   * Deletes the images of all generations from days before `timeMs`, or as many as one run of the job may delete; the next run
   * continues. Returns how many days were deleted.
   */
  removeBefore(timeMs: number): Promise<number>;
}

export const MEDIA_STORE = Symbol('MEDIA_STORE');
