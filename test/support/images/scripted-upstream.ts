import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import sharp from 'sharp';
import type { ProviderName } from '../../../src/gateway/images/providers/image-provider.js';

/** What an upstream does with every request, until a test sets another behavior. */
export type Play =
  /** Makes the image that is asked for. */
  | { readonly does: 'deliver' }
  /** Black Forest Labs: makes it, but has it ready only when `finishTasks` is called. */
  | { readonly does: 'deliver_when_finished' }
  /** Answers the request that begins the work like this. */
  | {
      readonly does: 'answer';
      readonly status: number;
      readonly body: unknown;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** Says nothing to the request that begins the work, breaks its connection, or breaks off in the middle. */
  | { readonly does: 'hang' | 'reset' | 'truncate' | 'redirect' }
  /** Delivers these bytes instead of the image. */
  | { readonly does: 'deliver_bytes'; readonly bytes: (size: Size) => Promise<Buffer> | Buffer }
  /** Black Forest Labs: every poll is answered so; none ever ends with `Pending`. */
  | { readonly does: 'poll'; readonly status: string; readonly details?: unknown }
  /** The result is to be fetched from the host that is not the provider's, or redirects there. */
  | { readonly does: 'foreign_result' | 'redirected_result' | 'foreign_polling' }
  /** OpenAI-compatible: a URL of its own instead of base64. */
  | { readonly does: 'deliver_url' };

export type Size = { readonly width: number; readonly height: number };
type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

export type SeenRequest = {
  readonly provider: ProviderName;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
};

const DELIVER: Play = { does: 'deliver' };

/** A picture of that size; random enough that no two are the same file. */
export function picture({ width, height }: Size, format: 'png' | 'jpeg' | 'webp' = 'png'): Promise<Buffer> {
  const background = { r: Math.floor(Math.random() * 256), g: 90, b: 60 };
  return sharp({ create: { width, height, channels: 3, background } })
    .toFormat(format)
    .toBuffer();
}

/**
 * Three providers on one loopback server, each of which does as the test says: Black Forest Labs under `/v1`,
 * Cloudflare Workers AI under `/client/v4`, an OpenAI-compatible server under `/compatible/v1`. Next to it is a foreign
 * host, which no one has any business with.
 */
export class ScriptedUpstream {
  /** What came to the foreign host. */
  readonly strayed: SeenRequest[] = [];
  readonly seen: SeenRequest[] = [];
  private readonly plays = new Map<ProviderName, Play>();
  private readonly once = new Map<ProviderName, Play[]>();
  private readonly tasks = new Map<
    string,
    { readonly size: Size; readonly play: Play; readonly isReady: boolean }
  >();
  private taskCount = 0;

  private constructor(
    private readonly server: Server,
    private readonly foreign: Server,
    /** Black Forest Labs answers 429 beyond so many active tasks. */
    private readonly activeTasksMax: number,
  ) {
    server.on('request', (request, response) => void this.route(request, response));
    foreign.on('request', (request, response) => void this.stray(request, response));
  }

  static async start(activeTasksMax = 24): Promise<ScriptedUpstream> {
    const [server, foreign] = [createServer(), createServer()];
    for (const listening of [server, foreign]) await once(listening.listen(0, '127.0.0.1'), 'listening');
    return new ScriptedUpstream(server, foreign, activeTasksMax);
  }

  get base(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get foreignBase(): string {
    return `http://127.0.0.1:${(this.foreign.address() as AddressInfo).port}`;
  }

  /** From now on; `first` are for one image each, before that. */
  play(provider: ProviderName, play: Play, first: readonly Play[] = []): void {
    this.plays.set(provider, play);
    this.once.set(provider, [...first]);
  }

  /** Everybody delivers, and nothing was seen. Tasks that run go on. */
  reset(): void {
    this.plays.clear();
    this.once.clear();
    this.seen.length = 0;
  }

  /** Whatever Black Forest Labs has in the making ends well now. */
  finishTasks(): void {
    for (const [id, task] of this.tasks) {
      if (task.play.does === 'poll' || !task.isReady)
        this.tasks.set(id, { ...task, play: DELIVER, isReady: true });
    }
  }

  /** What Black Forest Labs has in the making. */
  get activeTasks(): number {
    return [...this.tasks.values()].filter(({ isReady }) => !isReady).length;
  }

  /** Requests that began work there. */
  asked(provider: ProviderName): number {
    return this.seen.filter((request) => request.provider === provider).length;
  }

  async close(): Promise<void> {
    for (const server of [this.server, this.foreign]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  private next(provider: ProviderName): Play {
    return this.once.get(provider)?.shift() ?? this.plays.get(provider) ?? DELIVER;
  }

  private async stray(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    this.strayed.push({
      provider: 'openai_compatible',
      path: request.url ?? '',
      headers: request.headers,
      body,
    });
    response.end(await picture({ width: 256, height: 256 }));
  }

  private async route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    const body = await readBody(request);
    if (path.startsWith('/poll/')) return this.poll(path.slice('/poll/'.length), response);
    if (path.startsWith('/result/')) return this.result(path.slice('/result/'.length), response);
    const provider = providerOf(path);
    this.seen.push({ provider, path, headers: request.headers, body });
    const play = this.next(provider);
    const size = await sizeOf(provider, request, body);
    await this.begin(provider, play, size)(request, response);
  }

  private begin(provider: ProviderName, play: Play, size: Size): Answer {
    switch (play.does) {
      case 'answer':
        return (_request, response) => json(response, play.body, play.status, play.headers);
      case 'hang':
        return () => undefined;
      case 'reset':
        return (request) => void request.socket.destroy();
      case 'truncate':
        return (request, response) => {
          response.writeHead(200, { 'content-type': 'application/json', 'content-length': '5000' });
          response.write('{"result":{"image":"iVBORw0KGgo', () => request.socket.destroy());
        };
      case 'redirect':
        return (_request, response) =>
          void response.writeHead(307, { location: `${this.foreignBase}/stolen` }).end();
      default:
        return provider === 'black_forest_labs'
          ? this.submit(play, size)
          : this.synchronous(provider, play, size);
    }
  }

  private submit(play: Play, size: Size): Answer {
    return (_request, response) => {
      if (this.activeTasks >= this.activeTasksMax)
        return json(response, { detail: 'too many active tasks' }, 429);
      const id = `task-${(this.taskCount += 1)}`;
      this.tasks.set(id, { size, play, isReady: play.does !== 'deliver_when_finished' });
      const host = play.does === 'foreign_polling' ? this.foreignBase : this.base;
      return json(response, { id, polling_url: `${host}/poll/${id}`, cost: 1.5 });
    };
  }

  private poll(id: string, response: ServerResponse): void {
    const task = this.tasks.get(id);
    if (task === undefined) return json(response, { id, status: 'Task not found' }, 404);
    const { play, isReady } = task;
    if (play.does === 'poll') return json(response, { id, status: play.status, details: play.details });
    if (!isReady) return json(response, { id, status: 'Pending' });
    const host = play.does === 'foreign_result' ? this.foreignBase : this.base;
    return json(response, { id, status: 'Ready', result: { sample: `${host}/result/${id}` } });
  }

  private async result(id: string, response: ServerResponse): Promise<void> {
    const task = this.tasks.get(id);
    if (task === undefined) return void response.writeHead(404).end();
    if (task.play.does === 'redirected_result') {
      return void response.writeHead(302, { location: `${this.foreignBase}/stolen` }).end();
    }
    response.end(await imageOf(task.play, task.size));
  }

  private synchronous(provider: ProviderName, play: Play, size: Size): Answer {
    return async (_request, response) => {
      const id = `task-${(this.taskCount += 1)}`;
      const headers = { 'x-request-id': `request-${id}` };
      if (
        play.does === 'foreign_result' ||
        play.does === 'redirected_result' ||
        play.does === 'deliver_url'
      ) {
        this.tasks.set(id, { size, play, isReady: true });
        const host = play.does === 'foreign_result' ? this.foreignBase : this.base;
        return json(response, { data: [{ url: `${host}/result/${id}` }] }, 200, headers);
      }
      const image = (await imageOf(play, size)).toString('base64');
      const body =
        provider === 'cloudflare_workers_ai'
          ? { success: true, errors: [], result: { image } }
          : { created: 1, data: [{ b64_json: image }] };
      return json(response, body, 200, headers);
    };
  }
}

function imageOf(play: Play, size: Size): Promise<Buffer> | Buffer {
  return play.does === 'deliver_bytes' ? play.bytes(size) : picture(size);
}

function providerOf(path: string): ProviderName {
  if (path.startsWith('/client/v4/')) return 'cloudflare_workers_ai';
  return path.startsWith('/compatible/') ? 'openai_compatible' : 'black_forest_labs';
}

async function sizeOf(provider: ProviderName, request: IncomingMessage, body: Buffer): Promise<Size> {
  const type = request.headers['content-type'] ?? '';
  if (type.startsWith('multipart/')) {
    const form = await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData();
    const size = form.get('size');
    const [width = 0, height = 0] = typeof size === 'string' ? size.split('x').map(Number) : [];
    return provider === 'cloudflare_workers_ai'
      ? { width: Number(form.get('width')), height: Number(form.get('height')) }
      : { width, height };
  }
  const asked = JSON.parse(body.toString()) as { width?: number; height?: number; size?: string };
  const [width = 0, height = 0] = asked.size?.split('x').map(Number) ?? [asked.width, asked.height];
  return { width, height };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function json(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
