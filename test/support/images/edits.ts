import { expect } from '@jest/globals';
import sharp from 'sharp';
import { form, FORM_TYPE, GREY, BLUE, GREEN, plain, RED, type Colour, type Part } from './edit-bodies.js';
import { MODEL } from '../../fixtures/images.js';
import { TestAnswer } from '../app/test-client.js';

export const FIELDS: readonly Part[] = [
  { name: 'model', content: MODEL },
  { name: 'prompt', content: 'a fox' },
];

export const COLOURS: readonly Colour[] = [RED, GREEN, BLUE, GREY];

/** One for each colour, 64 pixels square. */
export const pictures: readonly Buffer[] = await Promise.all(
  COLOURS.map((colour) => plain(colour).png().toBuffer()),
);
export const picture = (index: number): Buffer => pictures[index] ?? Buffer.alloc(0);

export type Sent = {
  readonly apiKey?: string;
  readonly type?: string;
  readonly headers?: Record<string, string>;
};

/** Sends edits of one customer, as any bytes of any type. */
export class EditSender {
  constructor(
    private readonly url: string,
    private readonly apiKey: string,
  ) {}

  async send(body: Buffer | string, { apiKey, type, headers }: Sent = {}): Promise<TestAnswer> {
    const response = await fetch(`${this.url}/v1/images/edits`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${apiKey ?? this.apiKey}`,
        'content-type': type ?? FORM_TYPE,
        ...headers,
      },
      body,
    });
    return new TestAnswer(response.status, response.headers, JSON.parse(await response.text()));
  }

  form(parts: readonly Part[], sent: Sent = {}): Promise<TestAnswer> {
    return this.send(form([...FIELDS, ...parts]), sent);
  }

  json(body: object, sent: Sent = {}): Promise<TestAnswer> {
    const whole = { model: MODEL, prompt: 'a fox', ...body };
    return this.send(JSON.stringify(whole), { type: 'application/json', ...sent });
  }
}

export const dataUrl = (bytes: Buffer): string => `data:image/png;base64,${bytes.toString('base64')}`;

export async function pictureOf(url: string | undefined): Promise<Buffer> {
  const response = await fetch(url ?? '');
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}

/** The simulator draws the references that reached it into the lowest quarter, from left to right. */
export async function expectReferences(made: Buffer, colours: readonly Colour[]): Promise<void> {
  const { data, info } = await sharp(made).raw().toBuffer({ resolveWithObject: true });
  const side = Math.floor(Math.min(info.width, info.height) / 4);
  const at = (left: number) => [
    ...data.subarray(((info.height - side / 2) * info.width + left) * 3).subarray(0, 3),
  ];
  const found = [0, 1, 2, 3].map((index) => at(Math.floor((index + 0.5) * side)));
  for (const [index, { r, g, b }] of colours.entries()) {
    const distance = [r, g, b].map((value, channel) => Math.abs(value - (found[index]?.[channel] ?? -1_000)));
    expect({ index, found: found[index], near: Math.max(...distance) < 20 }).toMatchObject({ near: true });
  }
}

/** All four members of OpenAI's error, no matter who refused. */
export function expectOpenAiError(answer: TestAnswer, status: number): TestAnswer['body'] {
  const { error } = answer.expect(status).body;
  expect(error).toMatchObject({
    message: expect.any(String),
    type: expect.any(String),
    code: expect.any(String),
  });
  expect([null, 'string']).toContain(error.param === null ? null : typeof error.param);
  expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
  return error;
}
