import type { Readable } from 'node:stream';
import type { MediaName } from './media-name.js';

export type StoredImage = { readonly stream: Readable; readonly bytes: number };

/**
 * Where delivered images lie. Every method throws `MediaUnavailableError` when the store does not do its part in
 * bounded time. None may be called inside a tx.
 */
export interface MediaStore {
  /**
   * Resolves when the image survives the death of this process, or, with `isOnlyCopy`, that of the machine: nobody
   * else has it, so nothing could fetch it again. Writing the same name again replaces it.
   */
  write(name: MediaName, image: Buffer, isOnlyCopy?: boolean): Promise<void>;
  /** Null when there is none. */
  read(name: MediaName): Promise<Buffer | null>;
  /** The same for an answer that is sent while it is read; whoever opens it closes the stream. */
  open(name: MediaName): Promise<StoredImage | null>;
  /** In bytes; null when there is none. */
  getSize(name: MediaName): Promise<number | null>;
  /** Not an error when there is none. */
  remove(name: MediaName): Promise<void>;
  /**
   * Deletes every image of a generation that was made on a day before `timeMs`, or as many as a run of the job may
   * take; the next run goes on. Answers how many days went.
   */
  removeBefore(timeMs: number): Promise<number>;
}

export const MEDIA_STORE = Symbol('MEDIA_STORE');
