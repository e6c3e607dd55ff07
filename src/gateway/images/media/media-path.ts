import { decodeTime } from 'ulid';
import { formatUtcDate } from '../../../platform/common/clock.js';
import { toFileName, type MediaName } from './media-name.js';

const DAY_PATTERN = /^\d{4}-\d{2}-\d{2}$/;

/** The path of an image in its store: the folder `<day>/<hour and minute>`, and the name of the file. */
export type MediaPath = { readonly folder: string; readonly file: string };

/**
 * Derives the path from the time inside the generation's id. So the path needs no look-up, a folder stays small at any rate of calls,
 * and old images can be deleted by the day.
 */
export function toMediaPath(name: MediaName): MediaPath {
  const { generationId } = name;
  const time = new Date(decodeTime(generationId.slice(generationId.indexOf('_') + 1))).toISOString();
  return {
    folder: `${time.slice(0, 10)}/${time.slice(11, 13)}${time.slice(14, 16)}`,
    file: `${generationId}-${toFileName(name)}`,
  };
}

/** Returns those of the folders whose whole day is before `timeMs`, oldest first. Names that are no day are ignored. */
export function daysBefore(folders: readonly string[], timeMs: number): string[] {
  const keepFrom = formatUtcDate(new Date(timeMs));
  return folders.filter((folder) => DAY_PATTERN.test(folder) && folder < keepFrom).sort();
}
