import type { ImageResult } from '../image-maker.service.js';

/**
 * Returns the results as the receipt has to show them: with exactly as many delivered images as were paid. The two numbers differ
 * only when another process settled the hold:
 * - it charged for fewer images than there are now: the surplus is not handed to the customer;
 * - it charged for more, and their files are lost with a disk: they were delivered then, so they count as images of 0 bytes, and
 *   an operator has to check them.
 * Pure.
 */
export function agreeWithHold(results: readonly ImageResult[], imagesPaid: number): ImageResult[] {
  const delivered = results.filter((result) => result.failure === null).length;
  let surplus = Math.max(delivered - imagesPaid, 0);
  let missing = Math.max(imagesPaid - delivered, 0);
  // Surplus images are dropped from the end, so that the customer keeps the first ones.
  const agreed = results.toReversed().map((result): ImageResult => {
    if (result.failure === null && surplus > 0) {
      surplus -= 1;
      return { ...result, bytes: null, format: null, failure: 'failed' };
    }
    if (result.failure !== null && missing > 0) {
      missing -= 1;
      return { ...result, bytes: 0, failure: null };
    }
    return result;
  });
  return agreed.toReversed();
}
