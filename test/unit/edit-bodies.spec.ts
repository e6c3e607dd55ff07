import { PassThrough, Readable } from 'node:stream';
import { Busboy } from '@fastify/busboy';
import { describe, expect, it, jest } from '@jest/globals';
import { EDIT_BODY_BYTES_MAX, type EditBody } from '../../src/gateway/images/edits/edit-body.js';
import { REFERENCE_BYTES_MAX } from '../../src/gateway/images/edits/arriving-image.js';
import { EditsBusyError } from '../../src/gateway/images/edits/edit.errors.js';
import { EditMemory, EDITS_WAITING_PER_ACCOUNT_MAX } from '../../src/gateway/images/edits/edit-memory.js';
import { readJsonBody } from '../../src/gateway/images/edits/json-body.js';
import { readMultipartBody } from '../../src/gateway/images/edits/multipart-body.js';
import {
  form,
  FORM_TYPE,
  GREEN,
  image,
  plain,
  RED,
  unread,
  type Part,
} from '../support/images/edit-bodies.js';
import { readForm, refusal } from '../support/images/edit-readers.js';

const ONE = await plain(RED).png().toBuffer();
/** What it has in a comment is no end of a part. */
const COMMENT = Buffer.from('\xff\xfe\x00\x2a\r\n --a-boundary\r\n is in here,\r\n too.....', 'latin1');
const TWO = insertAt(2, await plain(GREEN).jpeg().toBuffer(), COMMENT);
/** Decoders pass over what follows the end. */
const ofBytes = (bytes: number): Buffer => Buffer.concat([ONE, Buffer.alloc(bytes - ONE.length)]);
const FIELDS: readonly Part[] = [
  { name: 'prompt', content: 'ein Füchslein ü' },
  { name: 'n', content: '2' },
  { name: 'stream', content: 'false' },
  { name: 'user', content: '12' },
];
const MEMBERS = { prompt: 'ein Füchslein ü', n: 2, stream: false, user: '12' };

function insertAt(at: number, bytes: Buffer, more: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
}

function readJson(body: unknown): Promise<EditBody> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return readJsonBody(unread(Buffer.from(text), 'application/json'));
}

const bytesOf = ({ images }: EditBody) =>
  images.map(({ source }) => ('image' in source ? source.image.join() : source.url));

describe('a form', () => {
  it.each([
    ['fields', Array.from({ length: 20_000 }, (_, index) => ({ name: `${index}`, content: '' }))],
    ['files', Array.from({ length: 20_000 }, () => image(ONE))],
  ])('of too many %s is parsed up to the first one too many, and no further', async (_kind, parts) => {
    const write = jest.spyOn(Busboy.prototype, 'write');
    const body = unread(form(parts), FORM_TYPE, 1_024);
    await expect(readMultipartBody(body)).rejects.toMatchObject({ code: 'invalid_request' });
    // A part of such a form has at most three hundred bytes.
    expect(write.mock.calls.length).toBeLessThan(8);
    write.mockRestore();
  });

  it.each([
    ['image', [image(Buffer.alloc(1_000_000))], 'image'],
    ['image[]', [image(ONE, 'image[]'), image(Buffer.alloc(1_000_000), 'image[]')], 'image[1]'],
  ])('with a file under %s that is no image is refused at its first bytes', async (_name, parts, param) => {
    let sent = 0;
    async function* cutByTheNetwork(bytes: Buffer) {
      for (; sent < bytes.length; sent += 1_024) {
        await new Promise((resolve) => process.nextTick(resolve));
        yield bytes.subarray(sent, sent + 1_024);
      }
    }
    const payload = Readable.from(cutByTheNetwork(form(parts)));
    const body = { ...unread(Buffer.alloc(0), FORM_TYPE), payload };
    let read = 0;
    const onBytes = (bytes: number): void => void (read += bytes);
    const refused = readMultipartBody({ ...body, onBytes });
    await expect(refused).rejects.toMatchObject({ code: 'invalid_image', param });
    expect(read).toBeLessThan(10_000);
  });

  it.each([
    ['headers', form([{ name: 'prompt', content: 'a' }]).subarray(0, 20), 'a: b\r\n'],
    ['what comes before its parts', Buffer.alloc(0), 'nothing\r\n'],
    ['a field', form([{ name: 'prompt', content: 'a' }]).subarray(0, -20), 'a long prompt '],
    ['a file that is no parameter', form([image(ONE, 'mask')]).subarray(0, -20), 'a long mask '],
  ])('is read up to a megabyte of %s', async (_what, begin, filling) => {
    const body = unread(Buffer.concat([begin, Buffer.alloc(8_000_000, filling)]), FORM_TYPE);
    let bytes = 0;
    const refused = await refusal(readMultipartBody({ ...body, onBytes: (more) => void (bytes += more) }));
    expect(refused.code).toMatch(/invalid_request|malformed_body/);
    expect(bytes).toBeLessThan(1_200_000);
  });

  it.each([
    ['before the files', [...FIELDS, image(ONE), image(TWO)]],
    ['after the files', [image(ONE), image(TWO), ...FIELDS]],
    ['between them, as image[]', [image(ONE, 'image[]'), ...FIELDS, image(TWO, 'image[]')]],
    ['with both names of an image', [image(ONE), ...FIELDS, image(TWO, 'image[]')]],
  ])('means the same with its fields %s', async (_where, parts) => {
    const body = await readForm(form(parts));
    expect(body.members).toEqual(MEMBERS);
    expect(bytesOf(body)).toEqual([ONE, TWO]);
    expect(body.images.map(({ param }) => param)).toEqual(['image[0]', 'image[1]']);
  });

  it('means the same however the network cuts it', async () => {
    const bytes = form([...FIELDS, image(ONE), image(TWO)]);
    for (const chunkBytes of [1, 2, 3, 7, 64, 1_000]) {
      const body = await readForm(bytes, chunkBytes);
      expect({ members: body.members, images: bytesOf(body) }).toEqual({
        members: MEMBERS,
        images: [ONE, TWO],
      });
    }
  });

  it('cut short anywhere is refused, and never read as a smaller one', async () => {
    const bytes = form([...FIELDS, image(ONE), image(TWO)]);
    // Without the last line end it is whole.
    for (let length = 0; length < bytes.length - 4; length += 1) {
      expect({ length, ...(await refusal(readForm(bytes.subarray(0, length)))) }).toMatchObject({
        code: 'malformed_body',
      });
    }
  });

  it.each(['multipart/form-data', 'multipart/form-data; boundary=', 'multipart/form-data; boundary="'])(
    'without a boundary (%s) is refused',
    async (type) => {
      expect(await refusal(readForm(form(FIELDS), 100, type))).toMatchObject({ code: 'malformed_body' });
    },
  );

  it.each([
    [
      'a scalar sent twice',
      [
        { name: 'n', content: '1' },
        { name: 'n', content: '9' },
      ],
      'n',
    ],
    ['an image that is no file', [{ name: 'image', content: 'text' }], 'image'],
    ['a name that is too long', [{ name: 'x'.repeat(5_000), content: '1' }], 'x'.repeat(100)],
    ['a prompt beyond all bounds', [{ name: 'prompt', content: 'é'.repeat(70_000) }], 'prompt'],
  ])('with %s is refused by name', async (_what, parts, param) => {
    expect(await refusal(readForm(form(parts)))).toMatchObject({ code: 'invalid_request', param });
  });

  it('with more parts than any call has is refused, in bounded memory', async () => {
    const many = Array.from({ length: 10_000 }, (_, index) => ({ name: `f${index}`, content: '' }));
    expect(await refusal(readForm(form(many)))).toMatchObject({ code: 'invalid_request' });
    const files = Array.from({ length: 1_000 }, () => image(ONE));
    expect(await refusal(readForm(form(files)))).toMatchObject({ code: 'invalid_request', param: 'image' });
  });

  it('keeps apart what is no number from what is one', async () => {
    const { members } = await readForm(
      form([
        { name: 'n', content: '2x' },
        { name: 'stream', content: 'yes' },
      ]),
    );
    expect(members).toEqual({ n: '2x', stream: 'yes' });
  });

  it('with a file under another name shows its name only', async () => {
    const { members, images } = await readForm(form([image(ONE, 'mask'), image(TWO)]));
    expect({ members, count: images.length }).toEqual({ members: { mask: { file: true } }, count: 1 });
  });

  it('with one file or all of them above the bound is refused as too large', async () => {
    const large = form([image(ofBytes(REFERENCE_BYTES_MAX + 1))]);
    expect(await refusal(readForm(large))).toMatchObject({ code: 'payload_too_large' });
    const half = image(ofBytes(EDIT_BODY_BYTES_MAX / 2));
    expect(await refusal(readForm(form([half, half])))).toMatchObject({ code: 'payload_too_large' });
    const declared = { ...unread(form([image(ONE)]), FORM_TYPE), declaredBytes: EDIT_BODY_BYTES_MAX + 1 };
    expect(await refusal(readMultipartBody(declared))).toMatchObject({ code: 'payload_too_large' });
  });
});

describe('a JSON body', () => {
  const data = (bytes: Buffer, type = 'image/png') => `data:${type};base64,${bytes.toString('base64')}`;

  it.each([
    ['no image', data(Buffer.alloc(500_000)), 'invalid_image'],
    ['no base64', `data:image/png;base64,${'ü'.repeat(500_000)}`, 'invalid_image'],
    ['an address that no server takes', `https://${'x'.repeat(1_000_000)}`, 'invalid_request'],
  ])('with %s is refused before it becomes bytes or is asked for', async (_what, url, code) => {
    const from = jest.spyOn(Buffer, 'from');
    const refused = await refusal(readJson({ images: [{ image_url: url }] }));
    const calls: readonly (readonly unknown[])[] = from.mock.calls;
    from.mockRestore();
    expect(refused).toMatchObject({ code, param: 'images[0].image_url' });
    const decoded = calls.filter(([, encoding]) => encoding === 'base64').map(([text]) => text as string);
    expect(decoded.every(({ length }) => length < 200)).toBe(true);
  });

  it.each([
    ['lists in lists', '['.repeat(10_000_000)],
    ['a long prompt', JSON.stringify({ prompt: 'x'.repeat(10_000_000) })],
    ['quotes in a long prompt', JSON.stringify({ prompt: '"'.repeat(5_000_000) })],
    ['quotes in an image', `{"image_url":"${data(ONE)}${'\\"'.repeat(5_000_000)}"}`],
    ['a data URL of no image', JSON.stringify({ image_url: data(Buffer.alloc(7_500_000)) })],
    ['many texts', JSON.stringify(Array.from({ length: 100_000 }, () => 'x'.repeat(100)))],
  ])('of %s is read up to a megabyte, and not joined', async (_what, text) => {
    const concat = jest.spyOn(Buffer, 'concat');
    let bytes = 0;
    const body = unread(Buffer.from(text), 'application/json', 10_000);
    const refused = await refusal(readJsonBody({ ...body, onBytes: (more) => void (bytes += more) }));
    const joined = concat.mock.calls.length;
    concat.mockRestore();
    expect({ refused, joined }).toMatchObject({ refused: { code: 'invalid_request' }, joined: 0 });
    expect(bytes).toBeLessThan(2_200_000);
  });

  it.each([1, 2, 7, 1_000, 65_536])('means the same however the network cuts it (%i bytes)', async (cut) => {
    const photo = Buffer.concat([ONE, Buffer.alloc(cut < 1_000 ? 2_000 : 2_000_000, 'photo')]);
    const value = {
      prompt: 'a "quoted" \\ prompt',
      images: [{ image_url: data(photo) }, { image_url: data(TWO) }],
    };
    // PHP escapes slashes.
    const text = JSON.stringify(value).replaceAll('/', '\\/');
    const read = await readJsonBody(unread(Buffer.from(text), 'application/json', cut));
    expect(read.members).toEqual({ prompt: value.prompt });
    expect(bytesOf(read)).toEqual([photo, TWO]);
  });

  it('brings its images as data URLs, in order', async () => {
    const images = [{ image_url: data(ONE) }, { image_url: data(TWO, 'image/jpeg'), file_id: null }];
    const body = await readJson({ prompt: 'a', n: 2, images });
    expect({ ...body, images: bytesOf(body) }).toEqual({
      members: { prompt: 'a', n: 2 },
      imagesName: 'images',
      images: [ONE, TWO],
    });
  });

  it.each([
    ['no list', 'text', 'images', 'invalid_request'],
    ['an image that is text', ['text'], 'images[0]', 'invalid_request'],
    ['null for an image', [null], 'images[0]', 'invalid_request'],
    ['an image of nothing', [{}], 'images[0].image_url', 'invalid_request'],
    ['a number for an address', [{ image_url: 7 }], 'images[0].image_url', 'invalid_request'],
    ['a further member', [{ image_url: 'data:,', detail: 'high' }], 'images[0]', 'invalid_request'],
    ['a file id', [{ file_id: 'file-abc' }], 'images[0].file_id', 'unsupported_parameter'],
    ['text as data', [{ image_url: 'data:text/plain;base64,AAAA' }], 'images[0].image_url', 'invalid_image'],
    ['data without base64', [{ image_url: 'data:image/png,abc' }], 'images[0].image_url', 'invalid_image'],
    ['a data URL without an end', [{ image_url: 'data:image/png' }], 'images[0].image_url', 'invalid_image'],
    ['17 images', Array(17).fill({ image_url: 'data:,' }), 'images', 'invalid_request'],
  ])('with %s is refused by name', async (_what, images, param, code) => {
    expect(await refusal(readJson({ prompt: 'a', images }))).toMatchObject({ code, param });
  });

  it.each(['', 'nonsense', '[]', 'null', '7', '{"a":1', '{"__proto__":{"n":5}}'])(
    '%p is refused',
    async (text) => {
      expect((await refusal(readJson(text))).code).toMatch(/^(malformed_body|invalid_request)$/);
    },
  );

  it('that is cut short, or too large, is refused', async () => {
    const whole = JSON.stringify({ prompt: 'a', images: [{ image_url: data(ONE) }] });
    expect(await refusal(readJson(whole.slice(0, -3)))).toMatchObject({ code: 'malformed_body' });
    const half = { image_url: data(ofBytes(15_000_000)) };
    const large = { prompt: 'a', images: [half, half] };
    expect(await refusal(readJson(large))).toMatchObject({ code: 'payload_too_large' });
    const long = { prompt: 'a', images: [{ image_url: data(ofBytes(REFERENCE_BYTES_MAX)) }] };
    expect(await refusal(readJson(long))).toMatchObject({ param: 'images[0].image_url' });
  });

  it('of millions of brackets is refused before they become millions of lists', async () => {
    const before = process.memoryUsage().heapUsed;
    expect(await refusal(readJson(`[${'[],'.repeat(9_000_000)}[]]`))).toMatchObject({
      code: 'invalid_request',
    });
    expect(await refusal(readJson(`[${'[],'.repeat(300_000)}[]]`))).toMatchObject({ code: 'malformed_body' });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(200 * 1_048_576);
    expect(await refusal(readJson(`{"a":"\\u0041","b":${'['.repeat(90_000)}`))).toMatchObject({
      code: 'malformed_body',
    });
    // Nested more deeply than a stack is, and whole.
    const nested = `{"a":"\\u0041","b":${'['.repeat(90_000)}${']'.repeat(90_000)}}`;
    expect(await refusal(readJson(nested))).toMatchObject({ code: 'malformed_body' });
  });
});

const MIB = 1_048_576;

describe('the memory of edits', () => {
  it('gives back what a call turns out not to need, and never takes more for it', async () => {
    const memory = new EditMemory();
    const reservation = await memory.enter('acct_a', 1_000);
    reservation.grow(1_000);
    reservation.shrinkTo(300);
    expect(memory.bytes).toBe(300);
    reservation.shrinkTo(900);
    expect(memory.bytes).toBe(300);
    reservation.release();
    expect(memory.bytes).toBe(0);
  });

  it('is not taken by bodies that are announced and do not come, but from their own account', async () => {
    const memory = new EditMemory();
    for (const account of ['acct_a', 'acct_b', 'acct_c', 'acct_d', 'acct_e']) {
      await memory.enter(account, EDIT_BODY_BYTES_MAX);
      await memory.enter(account, EDIT_BODY_BYTES_MAX);
    }
    expect(memory.bytes).toBe(0);
    const third = memory.enter('acct_a', EDIT_BODY_BYTES_MAX, AbortSignal.abort(new Error('client left')));
    await expect(third).rejects.toThrow('client left');
    (await memory.enter('acct_f', EDIT_BODY_BYTES_MAX)).grow(EDIT_BODY_BYTES_MAX);
  });

  it('always has some left for an account that comes new, whatever the others hold', async () => {
    const memory = new EditMemory();
    const fill = async (account: string) => {
      const reservation = await memory.enter(account, 4 * MIB);
      for (let refused = false; !refused;) {
        try {
          reservation.grow(MIB);
        } catch {
          refused = true;
        }
      }
    };
    for (const account of ['acct_a', 'acct_b', 'acct_c', 'acct_d']) await fill(account);
    expect(memory.bytes).toBe((3 * 64 + 32) * MIB);
    (await memory.enter('acct_e', 12 * MIB)).grow(12 * MIB);
  });

  it('is waited for account by account, and an account that waits for itself holds up no other', async () => {
    const memory = new EditMemory();
    const first = await memory.enter('acct_a', 32 * MIB);
    const second = await memory.enter('acct_a', 32 * MIB);
    const order: string[] = [];
    const waiting = ['a1', 'a2'].map((name) => memory.enter('acct_a', 32 * MIB).then(() => order.push(name)));
    await memory.enter('acct_b', 32 * MIB).then(() => order.push('b'));
    first.release();
    await waiting[0];
    expect(order).toEqual(['b', 'a1']);
    expect(memory.waitingCount).toBe(1);
    second.release();
    await waiting[1];
    expect(order).toEqual(['b', 'a1', 'a2']);
  });

  it('is not kept from small edits by a large one of another account that does not fit', async () => {
    const memory = new EditMemory();
    for (const account of ['acct_a', 'acct_b', 'acct_c', 'acct_d']) {
      (await memory.enter(account, MIB)).grow(account === 'acct_d' ? 20 * MIB : 64 * MIB);
    }
    const client = new AbortController();
    const large = memory.enter('acct_e', 32 * MIB, client.signal).catch((error: unknown) => error);
    (await memory.enter('acct_f', 4 * MIB)).grow(4 * MIB);
    client.abort(new Error('client left'));
    expect(await large).toBe(client.signal.reason);
  });

  it('refuses the edits of an account that has as many waiting as it may', async () => {
    const memory = new EditMemory();
    for (let body = 0; body < 2; body += 1) await memory.enter('acct_a', 32 * MIB);
    const client = new AbortController();
    const waiting = Array.from({ length: EDITS_WAITING_PER_ACCOUNT_MAX }, () =>
      memory.enter('acct_a', MIB, client.signal).catch((error: unknown) => error),
    );
    expect(await refusal(memory.enter('acct_a', MIB))).toMatchObject({ code: 'concurrency_limit_exceeded' });
    client.abort(new Error('client left'));
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => client.signal.reason));
    expect(memory.waitingCount).toBe(0);
  });
});

describe('the body of an edit', () => {
  it('that is slower than its pace is refused, and nothing of it is kept', async () => {
    const payload = new PassThrough();
    payload.write(form([...FIELDS]).subarray(0, 50));
    const body = { payload, contentType: FORM_TYPE, declaredBytes: 1_000, pace: { bytes: 1_000, ms: 5 } };
    expect(await refusal(readMultipartBody(body))).toMatchObject({ code: 'body_too_slow' });
  });

  it('is counted before it is kept, and ends where its account may hold no more', async () => {
    let counted = 0;
    const onBytes = (bytes: number): void => {
      counted += bytes;
      if (counted > 300) throw new EditsBusyError();
    };
    const body = { ...unread(form([...FIELDS, image(ONE)]), FORM_TYPE, 100), onBytes };
    expect(await refusal(readMultipartBody(body))).toMatchObject({ code: 'concurrency_limit_exceeded' });
    expect(counted).toBe(400);
  });
});
