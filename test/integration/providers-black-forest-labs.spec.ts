import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { BlackForestLabsProvider } from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import type { ProviderRequest, ProviderTask } from '../../src/gateway/images/providers/image-provider.js';
import {
  startSandboxBlackForestLabs,
  type SandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import { eventually } from '../support/processes.js';

/** What the upstream allows, here as there. */
const ACTIVE_TASKS_MAX = 24;
const API_KEY = 'bfl_the_key_of_the_house';
const SLOT_REQUEST = { owner: 'acct_a', call: 'gen_a' };
const REQUEST: ProviderRequest = {
  upstreamModel: 'flux-2-klein-9b',
  prompt: 'a fox',
  width: 64,
  height: 64,
  outputFormat: 'png',
  moderation: 'auto',
  references: [],
};

const never = (): AbortSignal => new AbortController().signal;
const PNG = Buffer.from('89504e470d0a1a0a', 'hex');

describe('Black Forest Labs, as its simulator plays it', () => {
  let upstream: SandboxBlackForestLabs;
  let provider: BlackForestLabsProvider;
  beforeAll(async () => {
    upstream = await startSandboxBlackForestLabs({ apiKey: API_KEY, instant: true });
    provider = new BlackForestLabsProvider({
      apiKey: API_KEY,
      apiBase: new URL(upstream.baseUrl),
      activeTasksMax: ACTIVE_TASKS_MAX,
    });
  });
  afterEach(() => upstream.control.clearFaults());
  afterAll(async () => {
    await provider.close();
    await upstream.close();
  });

  it('names the task, with its cost, before it waits for it', async () => {
    const known: ProviderTask[] = [];
    const image = await provider.generate(
      { ...REQUEST, width: 1_024, height: 1_024 },
      { slotRequest: SLOT_REQUEST, signal: never(), onTask: (task) => known.push(task) },
    );
    expect(image.subarray(0, 8)).toEqual(PNG);
    expect(known).toEqual([
      {
        taskId: expect.any(String) as unknown,
        pollingUrl: expect.stringContaining(upstream.baseUrl) as unknown,
        costMicros: 15_000n,
      },
    ]);
  });

  it('fetches a task again that was started before, for as long as the provider keeps it', async () => {
    const known: ProviderTask[] = [];
    const image = await provider.generate(REQUEST, {
      slotRequest: SLOT_REQUEST,
      signal: never(),
      onTask: (task) => known.push(task),
    });
    const [task] = known;
    if (task === undefined) throw new Error('no task');
    expect(await provider.resume(task, never())).toEqual(image);
  });

  it('never has more than 24 tasks in the making, however many are wanted', async () => {
    upstream.control.setLatencyMs(150);
    const before = upstream.control.counts().tasks;
    // The simulator answers 429 to a 25th active task.
    const images = await Promise.all(
      Array.from({ length: 60 }, () =>
        provider.generate(REQUEST, { slotRequest: SLOT_REQUEST, signal: never(), onTask: () => undefined }),
      ),
    );
    upstream.control.setLatencyMs(0);
    expect(images).toHaveLength(60);
    const { tasks, submits } = upstream.control.counts();
    expect({ tasks: tasks - before, refused: submits - tasks }).toEqual({ tasks: 60, refused: 0 });
  });

  it('waits out a 429 that another process of ours has caused', async () => {
    upstream.control.fail('submit=429', 2);
    const image = await provider.generate(REQUEST, {
      slotRequest: SLOT_REQUEST,
      signal: never(),
      onTask: () => undefined,
    });
    expect(image.subarray(0, 8)).toEqual(PNG);
  });

  it('never sends the key with a download', async () => {
    await provider.generate(REQUEST, { slotRequest: SLOT_REQUEST, signal: never(), onTask: () => undefined });
    expect(upstream.control.counts().keysSentToDelivery).toBe(0);
  });

  it.each([
    ['submit=hang', '/v1/', 'unavailable'],
    ['hang', '/get_result', 'lost'],
    ['poll=hang', '/get_result', 'lost'],
    ['download=hang', '/sample.', 'lost'],
    ['slow=5000', '/get_result', 'lost'],
  ])('ends with its deadline, whatever it waits for: %s', async (directive, path, kind) => {
    upstream.control.fail(directive, 1);
    const deadline = new AbortController();
    let isWaiting = false;
    // Published by undici for each request that it has sent.
    const note = (sent: unknown): void => {
      isWaiting ||= (sent as { readonly request: { readonly path: string } }).request.path.includes(path);
    };
    subscribe('undici:client:sendHeaders', note);
    const call = provider.generate(REQUEST, {
      slotRequest: SLOT_REQUEST,
      signal: deadline.signal,
      onTask: () => undefined,
    });
    const failed = expect(call).rejects.toMatchObject({ kind });
    await eventually(`${path} is asked for`, () => isWaiting);
    unsubscribe('undici:client:sendHeaders', note);
    deadline.abort();
    await failed;
  });

  it('fails with what it is, when no server listens', async () => {
    const away = new BlackForestLabsProvider({
      apiKey: API_KEY,
      apiBase: new URL('http://127.0.0.1:9'),
      activeTasksMax: ACTIVE_TASKS_MAX,
    });
    const call = away.generate(REQUEST, {
      slotRequest: SLOT_REQUEST,
      signal: never(),
      onTask: () => undefined,
    });
    await expect(call).rejects.toMatchObject({ kind: 'unavailable' });
    await away.close();
  });
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

describe('an upstream that misbehaves', () => {
  let server: Server;
  let foreign: Server;
  let base: string;
  let foreignBase: string;
  let handler: Handler;
  let provider: BlackForestLabsProvider;
  /** What arrived at the host that is not the provider's. */
  let strayed: IncomingMessage[];

  async function listen(listener: Handler): Promise<[Server, string]> {
    const listening = createServer(listener).listen(0, '127.0.0.1');
    await once(listening, 'listening');
    return [listening, `http://127.0.0.1:${(listening.address() as AddressInfo).port}`];
  }

  beforeEach(async () => {
    strayed = [];
    handler = (_request, response) => response.writeHead(500).end();
    [server, base] = await listen((request, response) => handler(request, response));
    [foreign, foreignBase] = await listen((request, response) => {
      strayed.push(request);
      response.end(PNG);
    });
    provider = new BlackForestLabsProvider({
      apiKey: API_KEY,
      apiBase: new URL(base),
      activeTasksMax: ACTIVE_TASKS_MAX,
    });
  });
  afterEach(async () => {
    await provider.close();
    for (const listening of [server, foreign]) {
      listening.closeAllConnections();
      await new Promise((resolve) => listening.close(resolve));
    }
  });

  const json = (response: ServerResponse, body: unknown, status = 200) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

  /** Submits and polls go well; `download` plays the delivery host. */
  function deliver(download: Handler, sample = `${base}/sample`, pollingUrl = `${base}/poll`): void {
    handler = (request, response) => {
      if (request.method === 'POST') json(response, { id: 'task-1', polling_url: pollingUrl, cost: 1.5 });
      else if (request.url === '/poll') json(response, { id: 'task-1', status: 'Ready', result: { sample } });
      else download(request, response);
    };
  }

  const outcome = () =>
    provider.generate(REQUEST, { slotRequest: SLOT_REQUEST, signal: never(), onTask: () => undefined });

  it('never gets the key sent to a foreign polling URL', async () => {
    deliver((_request, response) => response.end(PNG), `${base}/sample`, `${foreignBase}/poll`);
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
    expect(strayed).toEqual([]);
  });

  it('never makes us fetch from a foreign host', async () => {
    deliver((_request, response) => response.end(PNG), `${foreignBase}/sample`);
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
    expect(strayed).toEqual([]);
  });

  it.each([301, 302, 303, 307, 308])('never leads us to a foreign host by a %i', async (status) => {
    deliver((_request, response) => response.writeHead(status, { location: `${foreignBase}/stolen` }).end());
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
    expect(strayed).toEqual([]);
  });

  it('is followed on a redirect of its own, but not in circles', async () => {
    deliver((request, response) => {
      if (request.url === '/sample') response.writeHead(302, { location: '/moved' }).end();
      else response.end(PNG);
    });
    expect(await outcome()).toEqual(PNG);
    deliver((_request, response) => response.writeHead(302, { location: '/sample' }).end());
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
  });

  it('does not have the key carried along by a redirected submit or poll', async () => {
    handler = (_request, response) =>
      response.writeHead(307, { location: `${foreignBase}/v1/flux-2-klein-9b` }).end();
    await expect(outcome()).rejects.toMatchObject({ kind: 'unavailable' });
    expect(strayed).toEqual([]);
  });

  it('cannot make us read more than an image can be', async () => {
    let sent = 0;
    deliver((_request, response) => {
      const chunk = Buffer.alloc(1_048_576);
      const more = (): void => {
        if (response.destroyed) return;
        sent += chunk.length;
        response.write(chunk, more);
      };
      more();
    });
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
    expect(sent).toBeLessThan(60 * 1_048_576);
    deliver((_request, response) => response.writeHead(200, { 'content-length': '999999999999' }).write('x'));
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
  });

  it.each([
    ['HTML with status 200', 200, '<html>'],
    ['no id', 200, '{"polling_url":"http://127.0.0.1/"}'],
    ['an empty object', 200, '{}'],
    ['an array', 200, '[]'],
  ])('fails when a submit is answered with %s', async (_what, status, text) => {
    handler = (_request, response) => response.writeHead(status).end(text);
    await expect(outcome()).rejects.toMatchObject({ kind: 'failed' });
  });

  it('is asked again when a poll answers nonsense', async () => {
    let polls = 0;
    handler = (request, response) => {
      if (request.method === 'POST') return json(response, { id: 't', polling_url: `${base}/poll` });
      if (request.url === '/sample') return response.end(PNG);
      polls += 1;
      if (polls === 1) return response.writeHead(502).end('<html>');
      if (polls === 2) return json(response, { status: 'A new status' });
      if (polls === 3) return response.writeHead(200).end('{"status":');
      return json(response, { id: 't', status: 'Ready', result: { sample: `${base}/sample` } });
    };
    expect(await outcome()).toEqual(PNG);
    expect(polls).toBe(4);
  });

  it.each([
    [{ status: 'Request Moderated', details: { 'Moderation Reasons': ['x'] } }, 'moderated'],
    [{ status: 'Content Moderated', result: null }, 'moderated'],
    [{ status: 'Error' }, 'failed'],
    [{ status: 'Ready', result: null }, 'failed'],
    [{ status: 'Ready', result: { sample: 'not a url' } }, 'failed'],
  ])('ends a task in the state %j at once', async (state, kind) => {
    handler = (request, response) =>
      request.method === 'POST'
        ? json(response, { id: 't', polling_url: `${base}/poll` })
        : json(response, { id: 't', ...state });
    await expect(outcome()).rejects.toMatchObject({ kind });
  });

  it.each([
    [400, 'rejected'],
    [401, 'account'],
    [402, 'account'],
    [403, 'account'],
    [404, 'account'],
    [405, 'account'],
    [408, 'unavailable'],
    [409, 'unavailable'],
    [410, 'account'],
    [413, 'rejected'],
    [415, 'rejected'],
    [422, 'rejected'],
    [431, 'rejected'],
    [451, 'rejected'],
    [500, 'unavailable'],
    [502, 'unavailable'],
    [503, 'unavailable'],
    [529, 'unavailable'],
  ])('is understood when it answers a submit with %i: %s', async (status, kind) => {
    handler = (_request, response) => json(response, { detail: 'no' }, status);
    await expect(outcome()).rejects.toMatchObject({ kind });
  });

  it('is polled at the URL that it named, as it named it', async () => {
    const seen: (string | undefined)[] = [];
    handler = (request, response) => {
      if (request.method === 'POST')
        return json(response, { id: 't', polling_url: `${base}/v1/get_result?id=t&a=%2F&b=+` });
      seen.push(request.url);
      if (request.url === '/sample') return response.end(PNG);
      expect(request.headers['x-key']).toBe(API_KEY);
      return json(response, { id: 't', status: 'Ready', result: { sample: `${base}/sample` } });
    };
    await outcome();
    expect(seen).toEqual(['/v1/get_result?id=t&a=%2F&b=+', '/sample']);
  });
});
