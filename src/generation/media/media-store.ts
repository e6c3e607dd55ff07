import { createReadStream, type ReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { decodeTime } from 'ulid';
import { SETTINGS, type Settings } from '../../config/settings.js';
import { fileNameOf, type MediaName } from './media-name.js';

export type StoredImage = { readonly stream: ReadStream; readonly bytes: number };

/** Where delivered images lie. */
export interface MediaStore {
  /** Resolves when the image survives the death of this process. Writing the same name again replaces it. */
  write(name: MediaName, image: Buffer): Promise<void>;
  /** Null when there is none. */
  read(name: MediaName): Promise<Buffer | null>;
  /** The same for an answer that is sent while it is read; whoever opens it closes the stream. */
  open(name: MediaName): Promise<StoredImage | null>;
  /** In bytes; null when there is none. */
  sizeOf(name: MediaName): Promise<number | null>;
  remove(name: MediaName): Promise<void>;
  /** Deletes every image of a generation that was made on a day before `timeMs`. Answers how many days went. */
  removeBefore(timeMs: number): Promise<number>;
}

export const MEDIA_STORE = Symbol('MEDIA_STORE');

const DIR_MODE = 0o700;
const FILE_MODE = 0o600;
const DAY_PATTERN = /^\d{4}-\d{2}-\d{2}$/;

/**
 * Files under `$COFFER_DATA_DIR/media/<day>/<hour and minute>/`. The time is the one inside the
 * generation's id, so the place of an image needs no look-up, a folder stays small at any rate of calls, and
 * what is too old goes a day at a time.
 *
 * A file is written under its final name before anybody is charged for it, and not flushed. So it survives the
 * death of this process, but a power failure can take the last half minute of files. Flushing each one was
 * measured: at 200 images a second every flush makes the file system commit its journal, the ledger's own
 * flushes queue behind those, and a call takes several times as long. The provider is the second copy instead:
 * it keeps results for ten minutes, and `MediaRestoration` fetches after a reboot what is missing.
 * A file that a crash cut short is never served: nothing was charged or recorded for it, and recovery
 * decodes what it finds before it believes it.
 */
@Injectable()
export class LocalMediaStore implements MediaStore {
  private readonly root: string;
  /** Exists already, so that only one call a minute makes its folder. */
  private lastFolder = '';

  constructor(@Inject(SETTINGS) settings: Settings) {
    this.root = path.resolve(settings.dataDir, 'media');
  }

  async write(name: MediaName, image: Buffer): Promise<void> {
    const file = await this.create(name);
    try {
      await file.writeFile(image);
    } finally {
      await file.close();
    }
  }

  read(name: MediaName): Promise<Buffer | null> {
    return readFile(this.pathOf(name)).catch(nullWhenMissing);
  }

  async open(name: MediaName): Promise<StoredImage | null> {
    const file = await open(this.pathOf(name)).catch(nullWhenMissing);
    if (file === null) return null;
    const { size } = await file.stat();
    return { stream: createReadStream('', { fd: file }), bytes: size };
  }

  async sizeOf(name: MediaName): Promise<number | null> {
    return (await stat(this.pathOf(name)).catch(nullWhenMissing))?.size ?? null;
  }

  async remove(name: MediaName): Promise<void> {
    await rm(this.pathOf(name), { force: true });
  }

  async removeBefore(timeMs: number): Promise<number> {
    const keepFrom = dayOf(new Date(timeMs));
    const days = ((await readdir(this.root).catch(nullWhenMissing)) ?? []).filter(
      (day) => DAY_PATTERN.test(day) && day < keepFrom,
    );
    for (const day of days) await rm(path.join(this.root, day), { recursive: true, force: true });
    return days.length;
  }

  private async create(name: MediaName): Promise<FileHandle> {
    const folder = this.folderOf(name);
    if (folder === this.lastFolder) {
      // Null when somebody tidied the folder away.
      const file = await open(this.pathOf(name), 'w', FILE_MODE).catch(nullWhenMissing);
      if (file !== null) return file;
    }
    await mkdir(folder, { recursive: true, mode: DIR_MODE });
    this.lastFolder = folder;
    return open(this.pathOf(name), 'w', FILE_MODE);
  }

  private folderOf({ generationId }: MediaName): string {
    const time = new Date(decodeTime(generationId.slice(generationId.indexOf('_') + 1)));
    const [, minute = ''] = /T(\d\d:\d\d)/.exec(time.toISOString()) ?? [];
    return path.join(this.root, dayOf(time), minute.replace(':', ''));
  }

  private pathOf(name: MediaName): string {
    return path.join(this.folderOf(name), `${name.generationId}-${fileNameOf(name)}`);
  }
}

function dayOf(time: Date): string {
  return time.toISOString().slice(0, 10);
}

function nullWhenMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
