/**
 * An image provider that speaks OpenAI's images API and has its answers ready. The format is the `output_format` that it is
 * asked for, or else the one that the prompt ends with.
 */
import fastify from 'fastify';
import { listen } from './listen.js';
import { takePhotograph } from './photograph.js';

type Asked = { readonly prompt: string; readonly output_format?: string };

const photograph = await takePhotograph();
const toAnswer = (image: Buffer): Buffer =>
  Buffer.from(JSON.stringify({ created: 1_795_000_000, data: [{ b64_json: image.toString('base64') }] }));
const answers = { png: toAnswer(photograph.png), jpeg: toAnswer(photograph.jpeg) };

const app = fastify();
app.post<{ Body: Asked }>('/v1/images/generations', ({ body: { prompt, output_format: format } }, reply) =>
  reply.type('application/json').send((format ?? prompt).endsWith('jpeg') ? answers.jpeg : answers.png),
);

await listen(app);
