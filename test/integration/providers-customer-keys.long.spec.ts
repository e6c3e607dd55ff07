import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { BlackForestLabsProvider } from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import { CustomerSlots } from '../../src/gateway/images/providers/upstream-http.js';
import type { ProviderRequest } from '../../src/gateway/images/providers/image-provider.js';

const KEY = 'bfl_a_key_of_a_customer_0123456789';
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

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

describe('Black Forest Labs over a customer’s key', () => {
  let server: Server;
  let handler: Handler;
  let provider: BlackForestLabsProvider;
  let ours: BlackForestLabsProvider;
  beforeAll(async () => {
    server = createServer((request, response) => handler(request, response)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const apiBase = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const settings = { apiKey: KEY, apiBase, activeTasksMax: 24 };
    provider = new BlackForestLabsProvider(settings, { owner: 'customer' });
    ours = new BlackForestLabsProvider(settings);
  });
  afterAll(async () => {
    await Promise.all([provider.close(), ours.close()]);
    server.close();
    server.closeAllConnections();
  });

  const answer =
    (status: number, body: object): Handler =>
    (_request, response) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const generate = (by = provider) =>
    by.generate(REQUEST, {
      slotRequest: SLOT_REQUEST,
      signal: AbortSignal.timeout(20_000),
      onTask: () => undefined,
    });

  it.each([
    [401, 'key_rejected', 'account'],
    [402, 'key_unfunded', 'account'],
    [403, 'key_rejected', 'account'],
    [404, 'unavailable', 'account'],
    [422, 'rejected', 'rejected'],
    [500, 'unavailable', 'unavailable'],
  ])('a submit that is answered %s is a failure of the owner of the account: %s, or %s', async (...row) => {
    const [status, theirs, ourTrouble] = row;
    handler = answer(status, { detail: 'no' });
    await expect(generate()).rejects.toMatchObject({ kind: theirs });
    await expect(generate(ours)).rejects.toMatchObject({ kind: ourTrouble });
  });

  it.each([400, 401, 403, 422, 500])(
    'never repeats a key that the upstream repeats in a %s',
    async (status) => {
      for (const detail of [
        `invalid key ${KEY}`,
        [{ loc: ['body', 'prompt'], msg: `no prompt for ${KEY}`, type: 'x' }],
        { nested: { key: KEY } },
      ]) {
        handler = answer(status, { detail });
        const error = (await generate().catch((reason: unknown) => reason)) as Error;
        expect(error.message).not.toContain(KEY);
        expect(error.message).toContain(status === 400 || status === 422 ? '' : '[key]');
      }
    },
  );

  it('whose key is withdrawn while a task works ends soon, and says so', async () => {
    handler = (request, response) => {
      if (request.method === 'POST') {
        const pollingUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/poll`;
        answer(200, { id: 'task', polling_url: pollingUrl, cost: 1.5 })(request, response);
      } else answer(403, { detail: 'Not authenticated' })(request, response);
    };
    const startedAtMs = performance.now();
    await expect(generate()).rejects.toMatchObject({ kind: 'key_rejected' });
    const tookMs = performance.now() - startedAtMs;
    expect(tookMs).toBeGreaterThan(4_500);
    expect(tookMs).toBeLessThan(10_000);
  });

  it('says what a key check finds, and nothing when the answer is no answer', async () => {
    const check = () => provider.checkKey(AbortSignal.timeout(5_000));
    handler = answer(200, { credits: 12.5 });
    expect(await check()).toEqual({ outcome: 'accepted', creditMicros: 125_000n });
    handler = answer(200, { balance: 'plenty' });
    expect(await check()).toEqual({ outcome: 'accepted', creditMicros: null });
    for (const status of [401, 403]) {
      handler = answer(status, {});
      expect(await check()).toEqual({ outcome: 'rejected' });
    }
    for (const status of [302, 404, 429, 500, 503]) {
      handler = answer(status, {});
      expect(await check()).toEqual({ outcome: 'unreachable' });
    }
    handler = (request) => void request.socket.destroy();
    expect(await check()).toEqual({ outcome: 'unreachable' });
  });
});

describe('the task slots of customers', () => {
  it('are counted key by key, and forgotten when no call uses them', async () => {
    const slots = new CustomerSlots({ slots: 2, waitersMax: 1, waitMaxMs: 50, retryAfterSeconds: 3 });
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const held = ['a', 'a', 'b', 'b'].map((key) => slots.run(key, SLOT_REQUEST, () => gate));
    expect(slots.size).toBe(2);
    await expect(slots.run('a', SLOT_REQUEST, () => gate)).rejects.toMatchObject({ kind: 'saturated' });
    expect(await slots.run('c', SLOT_REQUEST, () => Promise.resolve('free'))).toBe('free');
    open();
    await Promise.all(held);
    expect(slots.size).toBe(0);
  });
});
