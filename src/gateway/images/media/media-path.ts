import { decodeTime } from 'ulid';
import { formatUtcDate } from '../../../platform/common/utc-time.js';
import { fileNameOf, type MediaName } from './media-name.js';

const DAY_PATTERN = /^\d{4}-\d{2}-\d{2}$/;

/** Where an image lies in its store: `<day>/<hour and minute>`, and the name of its file there. */
export type MediaPath = { readonly folder: string; readonly file: string };

/**
 * The time is the one inside the generation's id. So the place of an image needs no look-up, a folder stays small
 * at any rate of calls, and what is too old goes a day at a time.
 */
export function mediaPathOf(name: MediaName): MediaPath {
  const { generationId } = name;
  const time = new Date(decodeTime(generationId.slice(generationId.indexOf('_') + 1))).toISOString();
  return {
    folder: `${time.slice(0, 10)}/${time.slice(11, 13)}${time.slice(14, 16)}`,
    file: `${generationId}-${fileNameOf(name)}`,
  };
}

/** Of these folders of days the ones that are wholly before `timeMs`, oldest first; whatever else lies there is not ours. */
export function daysBefore(folders: readonly string[], timeMs: number): string[] {
  const keepFrom = formatUtcDate(new Date(timeMs));
  return folders.filter((folder) => DAY_PATTERN.test(folder) && folder < keepFrom).sort();
}
