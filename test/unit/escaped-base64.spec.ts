import { randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import type { EditBody } from '../../src/gateway/images/edits/edit-body.js';
import { readJsonBody } from '../../src/gateway/images/edits/json-body.js';
import { plain, RED, unread } from '../support/images/edit-bodies.js';
import { refusal } from '../support/images/edit-readers.js';

const PNG = await plain(RED).png().toBuffer();
const read = (body: string): Promise<EditBody> => readJsonBody(unread(Buffer.from(body), 'application/json'));
const imagesOf = ({ images }: EditBody) =>
  images.map(({ source }) => ('image' in source ? source.image.join() : source.url));

describe('a JSON body', () => {
  it.each([
    ['a blank after each four letters', (text: string) => text.replace(/.{4}/g, '$& ')],
    ['a letter of two bytes after each eight', (text: string) => text.replace(/.{8}/g, '$&ü')],
    ['every A by its number', (text: string) => text.replaceAll('A', '\\u0041')],
  ])(
    'is refused where the base64 of an image has more than letters, which takes work: %s',
    async (_what, spell) => {
      const image = spell(Buffer.concat([PNG, Buffer.alloc(2_500_000)]).toString('base64'));
      const body = `{"images":[{"image_url":"data:image/png;base64,${image}"}]}`;
      const { code, param, message } = await refusal(read(body));
      expect({ code, param }).toEqual({ code: 'invalid_request', param: 'images[0].image_url' });
      expect(message).toContain('fewer escapes');
    },
  );

  it.each([
    ['PHP', '/', '\\/'],
    ['.NET', '+', '\\u002B'],
  ])(
    'brings the largest image as %s escapes it, where one letter in 64 is escaped',
    async (_who, letter, escape) => {
      const photo = Buffer.concat([PNG, randomBytes(15_700_000 - PNG.length)]);
      const body = `{"images":[{"image_url":"data:image/png;base64,${photo.toString('base64').replaceAll(letter, escape)}"}]}`;
      const [image] = imagesOf(await read(body));
      expect(Buffer.isBuffer(image) && image.equals(photo)).toBe(true);
    },
  );
});
