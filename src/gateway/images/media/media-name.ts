import { isId } from '../../../platform/common/ids.js';
import type { OutputFormat } from '../providers/image-provider.js';

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
