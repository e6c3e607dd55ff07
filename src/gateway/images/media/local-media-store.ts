import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Settings } from '../../../platform/config/settings.js';
import type { MediaName } from './media-name.js';
import { daysBefore, mediaPathOf } from './media-path.js';
import type { MediaStore, StoredImage } from './media-store.js';

const DIR_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Files under `$COFFER_DATA_DIR/media/`, placed by `mediaPathOf`.
 *
 * A file is written under its final name before anybody is charged for it, and not flushed. So it survives the
 * death of this process, but a power failure can take the last half minute of files. Flushing each one was
 * measured: at 200 images a second every flush makes the file system commit its journal, the ledger's own
 * flushes queue behind those, and a call takes several times as long. The provider is the second copy instead
 * (an image that it keeps no copy of is flushed after all): it keeps results for ten minutes, and `MediaRestoration` fetches after a reboot what is missing.
 * A file that a crash cut short is never served: nothing was charged or recorded for it, and recovery
 * verifies what it finds before it believes it.
 */
export class LocalMediaStore implements MediaStore {
  private readonly root: string;
  /** Exists already, so that only one call a minute makes its folder. */
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
    return readFile(this.pathOf(name)).catch(nullWhenMissing);
  }

  async open(name: MediaName): Promise<StoredImage | null> {
    const file = await open(this.pathOf(name)).catch(nullWhenMissing);
    if (file === null) return null;
    const { size } = await file.stat();
    return { stream: createReadStream('', { fd: file }), bytes: size };
  }

  async getSize(name: MediaName): Promise<number | null> {
    return (await stat(this.pathOf(name)).catch(nullWhenMissing))?.size ?? null;
  }

  async remove(name: MediaName): Promise<void> {
    await rm(this.pathOf(name), { force: true });
  }

  async removeBefore(timeMs: number): Promise<number> {
    const days = daysBefore((await readdir(this.root).catch(nullWhenMissing)) ?? [], timeMs);
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

  private folderOf(name: MediaName): string {
    return path.join(this.root, mediaPathOf(name).folder);
  }

  private pathOf(name: MediaName): string {
    return path.join(this.folderOf(name), mediaPathOf(name).file);
  }
}

function nullWhenMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
