import type { Readable } from 'node:stream';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Settings } from '../../../platform/config/settings.js';
import { type MediaName, daysBefore, toMediaPath } from './media-name.js';

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

const DIR_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Files under `$COFFER_DATA_DIR/media/`, placed by `toMediaPath`.
 *
 * A file is written under its final name before it is charged, but it is not flushed. So it survives the death of this process, but a
 * power failure can lose the files of the last half minute. Flushing each file was measured: at 200 images a second every flush makes
 * the file system commit its journal, the ledger's own flushes have to wait, and a call takes several times as long. Instead, the
 * provider has the second copy: it keeps results for ten minutes, and after a reboot `MediaRestorationJob` fetches missing files
 * again. An image of which the provider keeps no copy is flushed. A file that was cut short by a crash is never served: nothing was
 * charged or recorded for it, and recovery verifies each file before it uses it.
 */
export class LocalMediaStore implements MediaStore {
  private readonly root: string;
  /** The last folder that was made, so that only one call a minute has to make one. */
  private lastFolder = '';

  constructor(settings: Pick<Settings, 'dataDir'>) {
    this.root = path.resolve(settings.dataDir, 'media');
  }

  async write(name: MediaName, image: Buffer, isOnlyCopy = false): Promise<void> {
    const file = await this.create(name);
    try {
      await file.writeFile(image);
      if (isOnlyCopy) await file.sync();
    } finally {
      await file.close();
    }
  }

  read(name: MediaName): Promise<Buffer | null> {
    return readFile(this.toPath(name)).catch(nullWhenMissing);
  }

  async open(name: MediaName): Promise<StoredImage | null> {
    const file = await open(this.toPath(name)).catch(nullWhenMissing);
    if (file === null) return null;
    const { size } = await file.stat();
    return { stream: createReadStream('', { fd: file }), bytes: size };
  }

  async getSize(name: MediaName): Promise<number | null> {
    return (await stat(this.toPath(name)).catch(nullWhenMissing))?.size ?? null;
  }

  async remove(name: MediaName): Promise<void> {
    await rm(this.toPath(name), { force: true });
  }

  async removeBefore(timeMs: number): Promise<number> {
    const days = daysBefore((await readdir(this.root).catch(nullWhenMissing)) ?? [], timeMs);
    for (const day of days) await rm(path.join(this.root, day), { recursive: true, force: true });
    return days.length;
  }

  private async create(name: MediaName): Promise<FileHandle> {
    const folder = this.toFolder(name);
    if (folder === this.lastFolder) {
      // Null when the folder was deleted in the meantime.
      const file = await open(this.toPath(name), 'w', FILE_MODE).catch(nullWhenMissing);
      if (file !== null) return file;
    }
    await mkdir(folder, { recursive: true, mode: DIR_MODE });
    this.lastFolder = folder;
    return open(this.toPath(name), 'w', FILE_MODE);
  }

  private toFolder(name: MediaName): string {
    return path.join(this.root, toMediaPath(name).folder);
  }

  private toPath(name: MediaName): string {
    return path.join(this.toFolder(name), toMediaPath(name).file);
  }
}

function nullWhenMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
