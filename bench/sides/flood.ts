/**
 * One customer who asks for as much as the limits let in, and for more: a process of its own, so that what it takes of the
 * cores is counted apart. `FLOOD` names the kinds of requests (`FLOOD_KINDS`), `KEYS` two API keys of one account.
 * `POST /start` begins, `GET /counts` returns how its requests were answered.
 */
import { randomUUID } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify from 'fastify';
import sharp, { type Sharp } from 'sharp';
import { Pool } from 'undici';
import { isFloodKind, type FloodKind } from '../flood-kinds.js';
import { listen } from './listen.js';

const { SERVICE_URL = '', KEYS = '', MODEL = '', FLOOD = '', MEDIA_DIR = '' } = process.env;
const keys = KEYS.split(' ');

/** Together just below what one account may have open at once. */
const GENERATIONS_AT_ONCE = 150;
const EDITS_AT_ONCE = 30;
/** As many as one account may begin in a minute, over both kinds of calls. */
const GENERATION_PAUSE_MS = 60;
const EDIT_PAUSE_MS = 200;
const READERS = 50;
/** For all readers: twice what an account may read in a minute. */
const READ_PAUSE_MS = 12;
const COPIES = 100;
const UNREAD_CONNECTIONS = 40;
const UNREAD_MS = 30_000;
const ANSWER_MS_MAX = 180_000;
const IMAGES_OF_A_CALL = 5;
const IMAGES_OF_AN_UNREAD_CALL = 10;
/** 25 megapixels, the most that a reference may have. */
const SIDE_OF_A_BIG_REFERENCE = 5_000;
const REFERENCES = 4;

const pool = new Pool(SERVICE_URL, {
  connections: 600,
  headersTimeout: ANSWER_MS_MAX,
  bodyTimeout: ANSWER_MS_MAX,
});
const counts: Record<string, Record<string, number>> = {};
let nextKey = 0;

function count(kind: FloodKind, outcome: number | string): void {
  const ofKind = (counts[kind] ??= {});
  ofKind[outcome] = (ofKind[outcome] ?? 0) + 1;
}

function authorization(): string {
  nextKey += 1;
  return `Bearer ${keys[nextKey % keys.length]}`;
}

type Sent = {
  readonly path: string;
  readonly method?: 'GET' | 'POST';
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
};

/** Never rejects. Reads the answer to its end. */
async function send(kind: FloodKind, { path, method = 'POST', body, headers }: Sent): Promise<void> {
  try {
    const all = { authorization: authorization(), 'content-type': 'application/json', ...headers };
    const answer = await pool.request({
      path,
      method,
      headers: all,
      ...(body === undefined ? {} : { body }),
    });
    await answer.body.dump({ limit: Number.MAX_SAFE_INTEGER });
    count(kind, answer.statusCode);
  } catch (error) {
    count(kind, (error as { code?: string }).code ?? 'failed');
  }
}

/** Begins requests one after the other, with a pause between them, and never more than `atOnce`. */
async function flood(atOnce: number, pauseMs: number, request: () => Promise<void>): Promise<void> {
  let open = 0;
  for (;;) {
    if (open < atOnce) {
      open += 1;
      void request().finally(() => (open -= 1));
    }
    await sleep(pauseMs);
  }
}

const GENERATIONS = '/v1/images/generations';
const EDITS = '/v1/images/edits';
const PROMPT = 'A red fox in the snow';

/**
 * Of one colour: a few kilobytes each, so that no bound on bytes is met. With some a decoder holds a few rows at a time, with
 * others, such as progressive ones, all of the picture.
 */
function bigPictures(): Promise<Buffer[]> {
  const size = { width: SIDE_OF_A_BIG_REFERENCE, height: SIDE_OF_A_BIG_REFERENCE };
  const picture = (): Sharp => sharp({ create: { ...size, channels: 3, background: '#7a5' } });
  const fine = { chromaSubsampling: '4:4:4' };
  return Promise.all(
    [
      picture().png(),
      picture().withMetadata({ orientation: 6 }).png(),
      picture().ensureAlpha(0.5).png(),
      picture().ensureAlpha(0.5).png({ progressive: true }),
      picture().jpeg(),
      picture().jpeg({ progressive: true, ...fine }),
      picture()
        .withMetadata({ orientation: 6 })
        .jpeg({ progressive: true, ...fine }),
      picture().webp({ effort: 0 }),
      picture().webp({ effort: 0, lossless: true }),
    ].map((encoding) => encoding.toBuffer()),
  );
}

/** Each picture in an edit of its own, as a form and as a data URL. */
async function bigEdits(): Promise<Sent[]> {
  const pictures = await bigPictures();
  const forms = pictures.map(async (bytes): Promise<Sent> => {
    const form = new FormData();
    form.set('model', MODEL);
    form.set('prompt', 'The same in winter');
    for (let index = 0; index < REFERENCES; index += 1)
      form.append('image[]', new Blob([new Uint8Array(bytes)]), 'a.png');
    const encoded = new Response(form);
    const type = encoded.headers.get('content-type') ?? '';
    return {
      path: EDITS,
      body: Buffer.from(await encoded.arrayBuffer()),
      headers: { 'content-type': type },
    };
  });
  const jsons = pictures.map((bytes): Sent => {
    const images = Array(REFERENCES).fill({
      image_url: `data:image/png;base64,${bytes.toString('base64')}`,
    });
    return { path: EDITS, body: JSON.stringify({ model: MODEL, prompt: 'The same in summer', images }) };
  });
  return [...(await Promise.all(forms)), ...jsons];
}

/** The simulated provider's pictures are flat, and weigh a hundredth of what photographs of their size do. */
async function makePhotographs(generationId: string): Promise<void> {
  const side = 2_048;
  const noise = { type: 'gaussian', mean: 128, sigma: 8 } as const;
  const create = { width: side, height: side, channels: 3, background: '#777', noise } as const;
  const photograph = await sharp({ create }).png().toBuffer();
  const files = await readdir(MEDIA_DIR, { recursive: true });
  const ours = files.filter((file) => file.includes(generationId));
  await Promise.all(ours.map((file) => writeFile(join(MEDIA_DIR, file), photograph)));
}

const FLOODS: Readonly<Record<FloodKind, () => Promise<void>>> = {
  async generations() {
    const body = JSON.stringify({ model: MODEL, prompt: PROMPT, n: IMAGES_OF_A_CALL, size: '512x512' });
    await flood(GENERATIONS_AT_ONCE, GENERATION_PAUSE_MS, () =>
      send('generations', { path: GENERATIONS, body }),
    );
  },
  async edits() {
    const edits = await bigEdits();
    let next = 0;
    await flood(EDITS_AT_ONCE, EDIT_PAUSE_MS, () => {
      next += 1;
      return send('edits', edits[next % edits.length] as Sent);
    });
  },
  async reads() {
    const paths = ['/v1/wallet', '/v1/wallet/transactions?limit=100', '/v1/generations?limit=100'];
    let next = 0;
    await flood(READERS, READ_PAUSE_MS, () => {
      next += 1;
      return send('reads', { path: paths[next % paths.length] ?? '', method: 'GET' });
    });
  },
  /** One call, and copies of it as an SDK would send them that had no answer, with the same key. */
  async retries() {
    const key = `Bearer ${keys[0]}`;
    for (;;) {
      const prompt = `${PROMPT} ${randomUUID()}`;
      const body = JSON.stringify({ model: MODEL, prompt, size: '512x512' });
      const attempt = (number: number) =>
        send('retries', {
          path: GENERATIONS,
          body,
          headers: { authorization: key, 'x-stainless-retry-count': `${number}` },
        });
      const first = attempt(0);
      await Promise.all([first, ...Array.from({ length: COPIES }, () => attempt(2))]);
    }
  },
  /** Images in base64 under an idempotency key, repeated on connections that take nothing of the answer. */
  async answers() {
    const body = JSON.stringify({
      model: MODEL,
      prompt: PROMPT,
      n: IMAGES_OF_AN_UNREAD_CALL,
      size: '2048x2048',
      output_format: 'png',
      response_format: 'b64_json',
    });
    const headers = { 'idempotency-key': randomUUID(), authorization: `Bearer ${keys[0]}` };
    const all = { ...headers, 'content-type': 'application/json' };
    const first = await pool.request({ path: GENERATIONS, method: 'POST', headers: all, body });
    await first.body.dump({ limit: Number.MAX_SAFE_INTEGER });
    count('answers', first.statusCode);
    await makePhotographs(String(first.headers['x-generation-id']));
    const request = [
      `POST ${GENERATIONS} HTTP/1.1`,
      'host: flood',
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      '',
      body,
    ].join('\r\n');
    const leaveUnread = async (): Promise<void> => {
      const { hostname, port } = new URL(SERVICE_URL);
      const socket = connect(Number(port), hostname).pause();
      socket.on('error', () => count('answers', 'cut'));
      socket.write(request);
      await sleep(UNREAD_MS);
      socket.destroy();
      count('answers', 'left unread');
    };
    await flood(UNREAD_CONNECTIONS, 100, leaveUnread);
  },
};

const app = fastify();
app.post('/start', () => {
  for (const kind of FLOOD.split(',').filter(isFloodKind)) void FLOODS[kind]();
  return {};
});
app.get('/counts', () => counts);
await listen(app);
