import { isId } from '../../../platform/common/ids.js';
import type { OutputFormat } from '../providers/image-provider.js';

/** One stored image. Everything about where it lies and what it is follows from these three. */
export type MediaName = {
  readonly generationId: string;
  readonly position: number;
  readonly format: OutputFormat;
};

/** The one that providers make by themselves comes first. */
const FORMATS: readonly OutputFormat[] = ['jpeg', 'png', 'webp'];

export const CONTENT_TYPES: Readonly<Record<OutputFormat, string>> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
};

/** The name of a generation's image; `position` counts the call's images from 0. */
export function toMediaName(
  { id }: { readonly id: string },
  { position, format }: { readonly position: number; readonly format: OutputFormat },
): MediaName {
  return { generationId: id, position, format };
}

/** Every name that an image of the call may have: of the format that was asked for, or of any when none was. */
export function possibleMediaNames(
  { id, outputFormat }: { readonly id: string; readonly outputFormat: OutputFormat | null },
  position: number,
): MediaName[] {
  const formats = outputFormat === null ? FORMATS : [outputFormat];
  return formats.map((format) => ({ generationId: id, position, format }));
}

const FILE_PATTERN = /^([0-9])\.(png|jpeg|webp)$/;

/** `0.png`: the image's place in its call, and its format. */
export function fileNameOf({ position, format }: MediaName): string {
  return `${position}.${format}`;
}

/** Null unless both parts have exactly the form that we write; so no path can be smuggled in. */
export function parseMediaName(generationId: string, file: string): MediaName | null {
  const match = FILE_PATTERN.exec(file);
  if (match === null || !isId('generation', generationId)) return null;
  return { generationId, position: Number(match[1]), format: match[2] as OutputFormat };
}
