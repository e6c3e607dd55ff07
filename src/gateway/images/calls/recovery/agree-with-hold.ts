import type { ImageResult } from '../image-maker.service.js';

/**
 * The results as the receipt has to show them: exactly as many delivered images as were paid. The two
 * differ only when another process settled the hold:
 * - it charged for fewer than there are now: the surplus is not handed out;
 * - it charged for more, and their files are gone (a lost disk): they were delivered then, so they count,
 *   with a size of 0 bytes, and an operator has to look.
 * Pure.
 */
export function agreeWithHold(results: readonly ImageResult[], imagesPaid: number): ImageResult[] {
  const delivered = results.filter((result) => result.failure === null).length;
  let surplus = Math.max(delivered - imagesPaid, 0);
  let missing = Math.max(imagesPaid - delivered, 0);
  // From the end: the customer keeps the first ones.
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
