/**
 * The least that a proxy of images needs: its keys are constants. It asks the upstream, and answers
 * with the image, or stores it in a file and answers with an address under which it serves it. It keeps no money, checks no
 * image and writes no record.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fastify from 'fastify';
import { Pool } from 'undici';
import { listen } from './listen.js';

type Asked = {
  readonly model: string;
  readonly prompt: string;
  readonly n?: number;
  readonly size?: string;
  readonly response_format?: 'url' | 'b64_json';
  readonly output_format?: 'png' | 'jpeg';
};
type Made = { readonly created: number; readonly data: readonly { readonly b64_json: string }[] };

const env = (name: string): string => process.env[name] ?? '';
const keys = new Set(env('KEYS').split(' '));
const upstream = new URL(env('UPSTREAM_BASE'));
const pool = new Pool(upstream.origin, { connections: 64 });
const dir = env('MEDIA_DIR');
await mkdir(dir, { recursive: true });

const schema = {
  type: 'object',
  required: ['model', 'prompt'],
  properties: {
    model: { type: 'string' },
    prompt: { type: 'string', minLength: 1, maxLength: 32_000 },
    n: { type: 'integer', minimum: 1, maximum: 1 },
    size: { type: 'string' },
    response_format: { enum: ['url', 'b64_json'] },
    output_format: { enum: ['png', 'jpeg'] },
  },
} as const;

const app = fastify();

app.post<{ Body: Asked }>('/v1/images/generations', { schema: { body: schema } }, async (request, reply) => {
  const key = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
  if (!keys.has(key)) return reply.code(401).send({ error: { message: 'unknown key' } });
  const {
    model,
    prompt,
    size = '1024x1024',
    response_format: form = 'url',
    output_format: format = 'png',
  } = request.body;
  const { statusCode, body } = await pool.request({
    path: `${upstream.pathname}/images/generations`,
    method: 'POST',
    headers: { authorization: `Bearer ${env('UPSTREAM_KEY')}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt, n: 1, size, response_format: 'b64_json' }),
  });
  const made = (await body.json()) as Made;
  if (statusCode !== 200) return reply.code(502).send({ error: { message: 'the upstream failed' } });
  if (form === 'b64_json') return made;
  const name = `${randomUUID()}.${format}`;
  await writeFile(join(dir, name), Buffer.from(made.data[0]?.b64_json ?? '', 'base64'));
  return { created: made.created, data: [{ url: `${url}/media/${name}` }] };
});

app.get<{ Params: { name: string } }>('/media/:name', ({ params: { name } }, reply) => {
  if (!/^[0-9a-f-]{36}\.(png|jpeg)$/.test(name)) return reply.code(404).send();
  return reply.type(`image/${name.split('.')[1]}`).send(createReadStream(join(dir, name)));
});

const url = await listen(app);
