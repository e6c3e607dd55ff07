import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { faultsOf, freshDocument } from '../support/images/catalog-documents.js';
import { checkProperty } from '../support/property.js';

describe('the catalogue file', () => {
  it('never breaks the reader, whatever it holds', async () => {
    await checkProperty(
      'any document is no catalogue',
      fc.property(fc.jsonValue(), (document) => {
        expect(faultsOf(document).length).toBeGreaterThan(0);
      }),
      { runs: 100 },
    );
    await checkProperty(
      'any member of a model is read',
      fc.property(
        fc.constantFrom(...Object.keys(freshDocument().models[0])),
        fc.jsonValue(),
        (member, value) => {
          const document = freshDocument();
          document.models[0][member] = value;
          faultsOf(document);
        },
      ),
      { runs: 100 },
    );
  });
});
