import { decodeTime } from 'ulid';
import { isId } from '../../../platform/common/ids.js';
import type { OutputFormat } from '../providers/image-provider.js';
import { formatUtcDate, DAY_MS } from '../../../platform/common/clock.js';
import type { Settings } from '../../../platform/config/settings.js';

/** Names one stored image. Its path and its content type are derived from these three members. */
export type MediaName = {
  readonly generationId: string;
  readonly position: number;
  readonly format: OutputFormat;
};

/** The format that providers choose by default comes first. */
const FORMATS: readonly OutputFormat[] = ['jpeg', 'png', 'webp'];

export const CONTENT_TYPES: Readonly<Record<OutputFormat, string>> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
};

/** Returns the name of a generation's image; `position` counts the call's images from 0. */
export function toMediaName(
  { id }: { readonly id: string },
  { position, format }: { readonly position: number; readonly format: OutputFormat },
): MediaName {
  return { generationId: id, position, format };
}

/** Returns every name that an image of the call may have: in the requested format, or in any format when none was requested. */
export function possibleMediaNames(
  { id, outputFormat }: { readonly id: string; readonly outputFormat: OutputFormat | null },
  position: number,
): MediaName[] {
  const formats = outputFormat === null ? FORMATS : [outputFormat];
  return formats.map((format) => ({ generationId: id, position, format }));
}

const FILE_PATTERN = /^([0-9])\.(png|jpeg|webp)$/;

/** Returns a name such as `0.png`, made of the image's position in its call and its format. */
export function toFileName({ position, format }: MediaName): string {
  return `${position}.${format}`;
}

/** Returns null unless both parts have exactly the form that is written here, so that no other path can be passed in. */
export function parseMediaName(generationId: string, file: string): MediaName | null {
  const match = FILE_PATTERN.exec(file);
  if (match === null || !isId('generation', generationId)) return null;
  return { generationId, position: Number(match[1]), format: match[2] as OutputFormat };
}

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

/** Images can be fetched and answers repeated for this long. Receipts and the idempotency keys of calls are never deleted. */
export function retentionMs({ mediaRetentionDays }: Pick<Settings, 'mediaRetentionDays'>): number {
  return mediaRetentionDays * DAY_MS;
}
