import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import type { CatalogSize } from '../../catalog/catalog.js';

export type ImageSize = { readonly width: number; readonly height: number };

/** No side has more than five digits. Longer numbers are refused before they are parsed. */
const SIZE_PATTERN = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/;

/** `auto` and null mean the model's default size. Throws `InvalidRequestError` (`invalid_size`) with the rule in words. */
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

/**
 * Returns the size that `auto` means for an edit: the size of the first reference, scaled into the model's limits and rounded down
 * to its step. A customer who sends a photo expects the result in the same shape, and its size has to be known beforehand.
 */
export function sizeLike(reference: ImageSize, rule: CatalogSize): ImageSize {
  const { width, height } = reference;
  const scale = Math.min(1, Math.sqrt(rule.pixelsMax / (width * height)));
  const side = (pixels: number): number =>
    Math.max(Math.floor((pixels * scale) / rule.sideStep) * rule.sideStep, rule.sideMin);
  return { width: side(width), height: side(height) };
}

function isSide(pixels: number, rule: CatalogSize): boolean {
  return pixels >= rule.sideMin && pixels % rule.sideStep === 0;
}
