import { isId } from '../../common/ids.js';
import type { OutputFormat } from '../providers/image-provider.js';

/** One stored image. Everything about where it lies and what it is follows from these three. */
export type MediaName = {
  readonly generationId: string;
  readonly position: number;
  readonly format: OutputFormat;
};

export const CONTENT_TYPES: Readonly<Record<OutputFormat, string>> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
};

/** The name of a generation's image; `position` counts the call's images from 0. */
export function mediaNameOf(
  generation: { readonly id: string; readonly outputFormat: OutputFormat },
  position: number,
): MediaName {
  return { generationId: generation.id, position, format: generation.outputFormat };
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
