import { describe, expect, it } from '@jest/globals';
import {
  base64Length,
  decodeBase64,
  encodeBase64,
  writeBase64,
} from '../../src/gateway/images/calls/base64.js';
import { parseJson, readBase64 } from '../../src/gateway/images/providers/upstream-http.js';

/** Around the sizes of one and two pieces, where groups of three bytes end. */
const lengths = [0, 1, 2, 3, 4, 49_151, 49_152, 49_153, 98_303, 98_304, 98_305, 200_000];
const bytesOf = (length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, index) => (index * 7_919) % 256));

describe('base64 in pieces', () => {
  it.each(lengths)('is what it is in one: %i bytes, there and back', (length) => {
    const bytes = bytesOf(length);
    const text = bytes.toString('base64');
    const target = Buffer.alloc(base64Length(bytes) + 2, '.');
    expect(writeBase64(target, 1, bytes)).toBe(1 + text.length);
    expect(target.toString('latin1')).toBe(`.${text}.`);
    expect(decodeBase64(Buffer.from(text)).equals(bytes)).toBe(true);
  });

  it.each([
    ['line breaks', (text: string) => text.replace(/.{76}/g, '$&\r\n')],
    ['no padding', (text: string) => text.replace(/=+$/, '')],
    ['the alphabet of URLs', (text: string) => text.replaceAll('+', '-').replaceAll('/', '_')],
    ['a stranger in the middle', (text: string) => `${text.slice(0, 40_001)}!${text.slice(40_001)}`],
  ])('is read as Buffer reads it with %s', (_what, spell) => {
    for (const length of lengths) {
      const text = spell(bytesOf(length).toString('base64'));
      expect(decodeBase64(Buffer.from(text)).equals(Buffer.from(text, 'base64'))).toBe(true);
    }
  });
});

describe('base64 of bytes that come in chunks', () => {
  const chunksOf = (bytes: Buffer, size: number): Buffer[] =>
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    );
  const textOf = async (chunks: readonly Buffer[], length: number): Promise<string> => {
    const pieces: Buffer[] = [];
    for await (const piece of encodeBase64(chunks, length)) pieces.push(piece);
    return Buffer.concat(pieces).toString();
  };

  it.each([1, 2, 3, 1_000, 49_152, 65_536, 300_000])(
    'is what it is in one, in chunks of %i',
    async (size) => {
      for (const length of lengths.filter((each) => size > 3 || each < 10)) {
        const bytes = bytesOf(length);
        expect(await textOf(chunksOf(bytes, size), length)).toBe(bytes.toString('base64'));
      }
    },
  );

  it.each([99, 101])('fails when there are other than 100 bytes: %i', async (length) => {
    await expect(textOf([bytesOf(length)], 100)).rejects.toThrow(`${length} bytes came instead of 100`);
  });
});

describe('an answer with an image in it', () => {
  const image = bytesOf(100_000);
  const text = image.toString('base64');
  const read = (body: string): unknown => parseJson(Buffer.from(body), 'b64_json');

  it('is parsed around the image, which stays the bytes that it came as', () => {
    const answer = {
      created: 1,
      data: [{ b64_json: text, revised_prompt: 'a "fox" ü' }],
      usage: { total: 7 },
    };
    for (const body of [JSON.stringify(answer), JSON.stringify(answer, null, 2)]) {
      const parsed = read(body) as typeof answer;
      expect(Buffer.isBuffer(parsed.data[0]?.b64_json)).toBe(true);
      expect(readBase64(parsed.data[0]?.b64_json)?.equals(image)).toBe(true);
      expect({ ...parsed, data: null }).toEqual({ ...answer, data: null });
      expect(parsed.data[0]?.revised_prompt).toBe('a "fox" ü');
    }
  });

  it.each([
    ['slashes are escaped', JSON.stringify({ b64_json: text }).replaceAll('/', '\\/')],
    ['it is a data URL', JSON.stringify({ b64_json: `data:image/png;base64,${text}` })],
    ['its name occurs in another text first', JSON.stringify({ prompt: 'the "b64_json', b64_json: text })],
    ['there are two', JSON.stringify({ b64_json: text, more: [{ b64_json: 'AAAA' }] })],
  ])('is read as well when %s', (_when, body) => {
    const { b64_json: value } = read(body) as { b64_json: unknown };
    expect(readBase64(value)?.equals(image)).toBe(true);
  });

  it.each(['', '{', '{"b64_json":"AAAA', '{"b64_json":"AAAA"', 'b64_json', '"b64_json":"AAAA"'])(
    'is undefined when it is no JSON: %s',
    (body) => {
      expect(read(body)).toBeUndefined();
    },
  );
});
