import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode } from '../error-code.js';

/**
 * One JSON file that is replaced as a whole: a new file is written next to it, synced and renamed. A reader therefore sees
 * the old state or the new one, never half of either, even if the process is killed.
 *
 * Saves are grouped: while one write runs, all later callers share the next one.
 */
export class StateFile {
  private running: Promise<void> | null = null;
  private following: Promise<void> | null = null;

  constructor(
    private readonly path: string,
    private readonly snapshot: () => unknown,
  ) {}

  /** Resolves when a snapshot taken after this call is on disk; rejects when the disk refuses it. */
  save(): Promise<void> {
    if (this.running === null) {
      this.running = this.write().finally(() => (this.running = null));
      return this.running;
    }
    const afterRunning = (): Promise<void> => {
      this.following = null;
      return this.save();
    };
    this.following ??= this.running.then(afterRunning, afterRunning);
    return this.following;
  }

  private async write(): Promise<void> {
    const folder = dirname(this.path);
    const temporary = `${this.path}.tmp`;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(this.snapshot()));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
    const directory = await open(folder, 'r');
    await directory.sync().finally(() => directory.close());
  }
}

/** The parsed file, or null when there is none yet. Throws when the file holds something else. */
export async function readStateFile(path: string): Promise<unknown> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    return JSON.parse(content);
  } catch (cause) {
    throw new Error(`${path} is not a sandbox state file; move it away to start afresh`, { cause });
  }
}
