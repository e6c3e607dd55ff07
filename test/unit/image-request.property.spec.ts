import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import {
  parseImageRequest,
  toImageModel,
  type ImageModel,
} from '../../src/gateway/images/calls/image-request.js';
import { Problem } from '../../src/platform/errors/problem.js';
import { checkProperty } from '../support/property.js';

const models = (await readCatalogFile()).catalog.models.flatMap(toImageModel);
const model = models.find(({ id }) => id === 'black-forest-labs/flux-2-klein-9b') as ImageModel;

describe('an OpenAI images request', () => {
  it('accepts exactly the sizes of the rule', async () => {
    await checkProperty(
      'sizes of the rule',
      fc.property(fc.nat({ max: 5_000 }), fc.nat({ max: 5_000 }), (width, height) => {
        const isAllowed =
          width >= 64 && height >= 64 && width % 16 === 0 && height % 16 === 0 && width * height <= 4_194_304;
        const request = { model: model.id, prompt: 'a fox', size: `${width}x${height}` };
        const attempt = () => parseImageRequest(request, { require: () => model });
        if (isAllowed) expect(attempt().size).toEqual({ width, height });
        else expect(attempt).toThrow(Problem);
      }),
      { runs: 100 },
    );
  });
});
