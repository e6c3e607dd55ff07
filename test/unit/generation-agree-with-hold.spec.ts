import { describe, expect, it } from '@jest/globals';
import { agreeWithHold } from '../../src/gateway/images/calls/recovery/agree-with-hold.js';
import { imageResult } from '../support/images/image-results.js';

describe('a receipt written by recovery', () => {
  it('keeps the first images when fewer were paid than are there', () => {
    const agreed = agreeWithHold(
      [imageResult(0, true), imageResult(1, false), imageResult(2, true), imageResult(3, true)],
      2,
    );
    expect(agreed.map((image) => image.failure)).toEqual([null, 'failed', null, 'failed']);
  });
});
