import { describe, expect, it, jest } from '@jest/globals';
import { readJsonBody } from '../../src/gateway/images/edits/json-body.js';
import { readMultipartBody } from '../../src/gateway/images/edits/multipart-body.js';
import { form, FORM_TYPE, image, unread, type Part } from '../support/images/edit-bodies.js';
import { refusal } from '../support/images/edit-readers.js';
import { hostilePictures } from '../support/images/hostile-pictures.js';

const FIELDS: readonly Part[] = [{ name: 'prompt', content: 'a fox' }];
const hostile = await hostilePictures(1_000_000);

describe.each([
  ['a form', (picture: Buffer) => unread(form([...FIELDS, image(picture)]), FORM_TYPE), 'image'],
  [
    'a JSON body',
    (picture: Buffer) => {
      const images = [{ image_url: `data:image/png;base64,${picture.toString('base64')}` }];
      return unread(Buffer.from(JSON.stringify({ prompt: 'a', images })), 'application/json');
    },
    'images[0].image_url',
  ],
] as const)('a picture that cannot be decoded, in %s', (kind, bodyOf, param) => {
  it.each([...hostile.keys()])('is refused before it is joined or given to a decoder: %s', async (what) => {
    const body = bodyOf(hostile.get(what) ?? Buffer.alloc(0));
    const concat = jest.spyOn(Buffer, 'concat');
    const refused = await refusal(kind === 'a form' ? readMultipartBody(body) : readJsonBody(body));
    const joined = concat.mock.calls.map(([pieces]) => pieces.reduce((sum, { length }) => sum + length, 0));
    concat.mockRestore();
    expect(refused).toMatchObject({ code: 'invalid_image', param });
    expect(Math.max(0, ...joined)).toBeLessThan(200_000);
  });

  it('is read no further than up to what shows it', async () => {
    const beginning = hostile.get('a PNG of 25 megapixels without its data') ?? Buffer.alloc(0);
    let bytes = 0;
    const body = { ...bodyOf(beginning), onBytes: (more: number) => void (bytes += more) };
    await refusal(kind === 'a form' ? readMultipartBody(body) : readJsonBody(body));
    expect(bytes).toBeLessThan(200_000);
  });
});
