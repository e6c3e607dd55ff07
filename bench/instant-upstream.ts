/**
 * Black Forest Labs with nothing but its answers, as a process: every task is ready at its first poll. It prints its address
 * as JSON. The sandbox, which the other parts of the benchmark use, checks what it is sent, keeps accounts and can
 * fail; that took more of the two cores than the load generator, for what is no part of the gateway.
 */
import { createServer, type Socket } from 'node:net';
import { drawPicture } from '../src/sandbox/black-forest-labs/picture.js';
import { MessageReader, type Message } from './plain-http.js';

type Submitted = { readonly prompt: string; readonly width: number; readonly height: number };

/** What the real service asks for an image of a megapixel or less, in its credits. */
const COST = 1.5;
const pictures = new Map<string, Promise<Buffer>>();
let tasks = 0;

/** The id of a task is the key of its picture, so there is nothing to remember of it. */
async function answer({ head, body }: Message): Promise<Buffer> {
  const [method = '', target = ''] = head.split(' ', 2);
  if (method === 'POST') {
    const { prompt, width, height } = JSON.parse(body.toString('utf8')) as Submitted;
    const id = Buffer.from(JSON.stringify([(tasks += 1), prompt, width, height])).toString('base64url');
    return json({ id, polling_url: `${base}/v1/get_result?id=${id}`, cost: COST });
  }
  const { pathname, searchParams } = new URL(target, base);
  if (pathname === '/v1/get_result') {
    const id = searchParams.get('id') ?? '';
    return json({ id, status: 'Ready', result: { sample: `${base}/sample/${id}` } });
  }
  const id = Buffer.from(pathname.slice('/sample/'.length), 'base64url').toString();
  const [, prompt, width, height] = JSON.parse(id) as [number, string, number, number];
  return message('image/png', await pictureOf({ prompt, width, height }));
}

function pictureOf(submitted: Submitted): Promise<Buffer> {
  const key = JSON.stringify(submitted);
  const known =
    pictures.get(key) ??
    drawPicture({ ...submitted, outputFormat: 'png', seed: pictures.size, thumbnails: [] });
  pictures.set(key, known);
  return known;
}

const json = (value: unknown): Buffer => message('application/json', Buffer.from(JSON.stringify(value)));

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n\r\n`),
    body,
  ]);
}

function serve(socket: Socket): void {
  const reader = new MessageReader();
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    for (const request of reader.read(chunk)) {
      void answer(request).then(
        (bytes) => socket.write(bytes),
        () => socket.destroy(),
      );
    }
  });
}

const server = createServer(serve);
let base = '';
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  base = `http://127.0.0.1:${address.port}`;
  console.log(JSON.stringify({ bfl_api_base: base }));
});
