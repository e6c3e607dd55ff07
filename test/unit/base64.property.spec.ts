import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseJson } from '../../src/gateway/images/providers/upstream-http.js';
import { checkProperty } from '../support/property.js';

/** As JSON, with an image as the text that its bytes are. */
function plain(parsed: unknown): unknown {
  return JSON.parse(
    JSON.stringify(parsed, (_name, inner: unknown) =>
      inner !== null && typeof inner === 'object' && 'type' in inner && inner.type === 'Buffer'
        ? Buffer.from((inner as unknown as { data: number[] }).data).toString()
        : inner,
    ),
  );
}

describe('an answer with an image in it', () => {
  it('says what JSON says, whatever is in it', async () => {
    const names = fc.constantFrom('b64_json', 'data', 'a');
    await checkProperty(
      'an answer says what JSON says',
      fc.property(fc.jsonValue(), names, fc.string(), (value, name, words) => {
        const body = JSON.stringify({ first: value, [name]: words, last: [{ b64_json: words }] });
        expect(plain(parseJson(Buffer.from(body), 'b64_json'))).toEqual(JSON.parse(body));
      }),
      { runs: 100 },
    );
  });
});
