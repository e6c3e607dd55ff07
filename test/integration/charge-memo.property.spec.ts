import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { chargeMemoParts, formatChargeMemo, parseChargeMemo } from '../../src/money/pricing/price.js';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp } from '../support/app/test-app.js';
import { checkProperty } from '../support/property.js';

let service: TestApp;
beforeAll(async () => {
  service = await sharedApp();
});

/** What a memo is made of, and what people write that looks like it. */
const PIECES = [
  'flux',
  'a/b',
  ' ',
  '  ',
  '\t',
  '\n',
  'x',
  'x1',
  'x12',
  'x12345',
  'x-1',
  ' x3 ',
  '@',
  '@price_',
  '@price_a',
  '@prices',
  '%',
  '_',
  'é',
  '\u00a0',
  'v',
  'vision-v2',
  '\v',
  '\f',
  '\r',
  '\u2028',
  '\u3000',
  '\u0663',
  'x\u0663',
];
const memo = fc.oneof(
  fc.array(fc.constantFrom(...PIECES), { maxLength: 8 }).map((pieces) => pieces.join('')),
  fc
    .tuple(fc.constantFrom(...PIECES), fc.nat(12_000), fc.constantFrom(...PIECES))
    .map(([model, images, id]) => formatChargeMemo({ model, images, priceId: `price_${id}` })),
);

describe('the memo of a charge', () => {
  it('is read by the database as by the service', async () => {
    await checkProperty(
      'memos are read alike',
      fc.asyncProperty(fc.array(memo, { minLength: 50, maxLength: 200 }), async (memos) => {
        const rows = await service.dataSource.query<{ parts: [string, string] | null }[]>(
          `SELECT m.parts FROM unnest($1::text[]) WITH ORDINALITY AS t (memo, place) CROSS JOIN LATERAL ${chargeMemoParts('t.memo')} m ORDER BY place`,
          [memos],
        );
        const read = rows.map(({ parts }) =>
          parts === null ? null : { model: parts[0], images: Number(parts[1]) },
        );
        expect(read).toEqual(
          memos.map((text) => {
            const charge = parseChargeMemo(text);
            return charge === null ? null : { model: charge.model, images: charge.images };
          }),
        );
        expect(read.some((charge) => charge !== null)).toBe(true);
      }),
      { runs: 20 },
    );
  });
});
