import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import {
  parseImageRequest,
  sizeLike,
  toImageModel,
  type ImageModel,
} from '../../src/gateway/images/calls/image-request.js';
import { checkProperty } from '../support/property.js';

const models = (await readCatalogFile()).catalog.models.flatMap(toImageModel);
const model = models.find(({ id }) => id === 'black-forest-labs/flux-2-klein-9b') as ImageModel;
const rule = model.size;

describe('an edit', () => {
  it('never asks for a size that the model refuses, whatever the image measures', async () => {
    const side = fc.integer({ min: 64, max: 12_000 });
    await checkProperty(
      'sizes of edits',
      fc.property(side, side, (width, height) => {
        fc.pre(Math.max(width, height) <= 8 * Math.min(width, height));
        const size = sizeLike({ width, height }, rule);
        const request = { model: model.id, prompt: 'a fox', size: `${size.width}x${size.height}` };
        expect(parseImageRequest(request, { require: () => model }).size).toEqual(size);
        // The shape stays, but for the rounding to the model's step.
        const scale = Math.min(1, Math.sqrt(rule.pixelsMax / (width * height)));
        expect(width * scale - size.width).toBeLessThan(rule.sideStep);
        expect(height * scale - size.height).toBeLessThan(rule.sideStep);
      }),
      { runs: 100 },
    );
  });
});
