import { InvalidRequestError } from '../problems/common.errors.js';
import type { CatalogSize } from '../catalog/catalog.js';

export type ImageSize = { readonly width: number; readonly height: number };

/** Five digits are more than any side can have; more are no size but an attack on the parser. */
const SIZE_PATTERN = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/;

/** `auto` and null mean the model's own size. Throws `InvalidRequestError` (`invalid_size`) with the rule in words. */
export function parseSize(size: string | null, rule: CatalogSize): ImageSize {
  if (size === null || size === 'auto') return { width: rule.widthDefault, height: rule.heightDefault };
  const match = SIZE_PATTERN.exec(size);
  const width = Number(match?.[1]);
  const height = Number(match?.[2]);
  if (match === null || !isSide(width, rule) || !isSide(height, rule) || width * height > rule.pixelsMax) {
    throw new InvalidRequestError(
      `size must be 'auto' or WIDTHxHEIGHT, each a multiple of ${rule.sideStep} and at least ${rule.sideMin}, ` +
        `together at most ${rule.pixelsMax} pixels. Nothing was charged.`,
      'size',
      'invalid_size',
    );
  }
  return { width, height };
}

function isSide(pixels: number, rule: CatalogSize): boolean {
  return pixels >= rule.sideMin && pixels % rule.sideStep === 0;
}
