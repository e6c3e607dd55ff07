import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  JSON_DEPTH_MAX,
  JSON_MEMBERS_MAX,
  refuseComplexJson,
  readJson,
} from '../../src/platform/http/request-bodies.js';
import { MalformedBodyError } from '../../src/platform/errors/common.errors.js';
import { checkProperty } from '../support/property.js';

/** Lists and objects, and what follows the first member or item of each. */
function membersOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const values: unknown[] = Object.values(value);
  return 1 + Math.max(values.length - 1, 0) + values.reduce<number>((sum, each) => sum + membersOf(each), 0);
}

const nested = (depth: number): string => '[{"a":'.repeat(depth / 2) + '1' + '}]'.repeat(depth / 2);
const list = (items: number): string => `[${Array.from({ length: items }, () => '0').join()}]`;
const read = (text: string): unknown => readJson(Buffer.from(text));

describe('a JSON body', () => {
  it('is accepted up to the allowed depth, and refused one level deeper, regardless of how much deeper it is', () => {
    expect(read(nested(JSON_DEPTH_MAX))).toBeInstanceOf(Array);
    for (const levels of [1, 2_000, 500_000]) {
      expect(() => read('['.repeat(JSON_DEPTH_MAX + levels))).toThrow(
        `The request body is nested deeper than ${JSON_DEPTH_MAX} levels. Nothing was charged.`,
      );
    }
  });

  it('is accepted up to the allowed number of members, and refused with one more, also when they have one name', () => {
    expect(read(list(JSON_MEMBERS_MAX))).toHaveLength(JSON_MEMBERS_MAX);
    const refusal = `The request body has more than ${JSON_MEMBERS_MAX} members. Nothing was charged.`;
    expect(() => read(list(JSON_MEMBERS_MAX + 1))).toThrow(refusal);
    expect(() => read(`{${'"a":1,'.repeat(JSON_MEMBERS_MAX + 1)}"a":1}`)).toThrow(refusal);
    expect(() => read(`[${'[],'.repeat(JSON_MEMBERS_MAX)}[]]`)).toThrow(refusal);
  });

  it('may have any number of brackets, commas and escapes in its texts', () => {
    const text = '[{,"\\'.repeat(50_000);
    expect(read(JSON.stringify({ [text]: text }))).toEqual({ [text]: text });
  });

  it('that does not end, or ends inside a text, is refused as it was, without a loop', () => {
    for (const text of ['{"a":"', '"', '"\\', `"${'\\"'.repeat(100_000)}`, '{"a":1,', ']]]]', '}{']) {
      expect(() => read(text)).toThrow(MalformedBodyError);
    }
  });

  it('has as many members as are counted in its bytes, whatever its texts are', async () => {
    const counted = fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), (value) => {
      const text = JSON.stringify(value);
      expect(refuseComplexJson(Buffer.from(text))).toBe(membersOf(JSON.parse(text)));
    });
    await checkProperty('members of JSON', counted, { runs: 1_000 });
  });
});
