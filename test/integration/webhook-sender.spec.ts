import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:https';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { type WebhookRequest, WebhookSender } from '../../src/notifications/webhooks/webhook-sender.js';
import type { HostResolver } from '../../src/platform/egress/outside-hosts.js';
import { generate as selfSigned } from 'selfsigned';
import { EventReceiver } from '../support/webhooks/event-receiver.js';

/** What a name leads to, look-up by look-up; the last answer stays. Counts the look-ups. */
class ScriptedResolver implements HostResolver {
  lookUps: string[] = [];
  constructor(private readonly script: readonly (readonly string[])[]) {}
  resolve(host: string): Promise<readonly string[]> {
    this.lookUps.push(host);
    const answer = this.script[this.lookUps.length - 1] ?? this.script.at(-1);
    return answer === undefined || answer.length === 0
      ? Promise.reject(new Error('no such name'))
      : Promise.resolve(answer);
  }
}

const NEVER_ASKED = new ScriptedResolver([]);

let receiver: EventReceiver;
const servers: Server[] = [];
const sockets = new Set<Socket>();

beforeAll(async () => {
  receiver = await EventReceiver.start();
});
afterEach(() => receiver.reset());
afterAll(async () => {
  await receiver.close();
  for (const socket of sockets) socket.destroy();
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
});

function sender(resolver: HostResolver = NEVER_ASKED, webhookLoopback = true): WebhookSender {
  return new WebhookSender({ webhookLoopback }, resolver);
}

function message(url = receiver.url): WebhookRequest {
  return { url, headers: { 'content-type': 'application/json', 'webhook-id': 'evt_1' }, body: '{"a":"ü"}' };
}

async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

describe('what is posted', () => {
  it('arrives byte for byte, with its headers, and the status comes back', async () => {
    receiver.answer = () => ({ status: 202, body: 'thank you' });
    expect(await sender().post(message())).toEqual({ kind: 'answered', status: 202, retryAfter: null });
    expect(receiver.received).toMatchObject([{ id: 'evt_1', body: '{"a":"ü"}' }]);
    expect(receiver.received[0]?.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': '10',
    });
  });

  it('follows no redirect, not even to where it may go', async () => {
    receiver.answer = () => ({ status: 307, headers: { location: receiver.url } });
    expect(await sender().post(message())).toMatchObject({ kind: 'answered', status: 307 });
    expect(receiver.received).toHaveLength(1);
  });

  it('brings back the receiver’s wish to wait', async () => {
    receiver.answer = () => ({ status: 503, headers: { 'retry-after': '120' } });
    expect(await sender().post(message())).toEqual({ kind: 'answered', status: 503, retryAfter: '120' });
  });

  it('does not read what a receiver pours back, and keeps its status', async () => {
    const chunk = Buffer.alloc(65_536, 'x');
    let poured = 0;
    const port = await listen(
      createTcpServer((socket) => {
        socket.on('error', () => undefined);
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
        const pour = (): void => {
          while (socket.writable && poured < 1_000 * chunk.length) {
            poured += chunk.length;
            const more = socket.write(`10000\r\n${chunk.toString()}\r\n`);
            if (!more) return void socket.once('drain', pour);
          }
        };
        pour();
      }),
    );
    const outcome = await sender().post(message(`http://127.0.0.1:${port}/`));
    expect(outcome).toMatchObject({ kind: 'answered', status: 200 });
    expect(poured).toBeLessThan(200 * chunk.length);
  });

  it('keeps the status of a receiver that never ends its body, within the time limit', async () => {
    const port = await listen(
      createTcpServer((socket) => {
        socket.on('error', () => undefined);
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx');
      }),
    );
    const deadline = new AbortController();
    // Published by undici when the status and the headers of an answer are there.
    const cut = (): void => void setImmediate(() => deadline.abort());
    subscribe('undici:request:headers', cut);
    const outcome = await sender().post(message(`http://127.0.0.1:${port}/`), deadline.signal);
    unsubscribe('undici:request:headers', cut);
    expect(outcome).toMatchObject({ kind: 'answered', status: 200 });
  });
});

describe('what does not arrive', () => {
  it('is a timeout when the receiver is silent, drips headers, or its name is not resolved', async () => {
    const silent = new AbortController();
    receiver.answer = () => {
      silent.abort();
      return 'hang';
    };
    expect(await sender().post(message(), silent.signal)).toEqual({ kind: 'failed', error: 'timeout' });
    const dripping = new AbortController();
    const port = await listen(
      createTcpServer((socket) => {
        socket.on('error', () => undefined);
        socket.write('H', () => dripping.abort());
      }),
    );
    const outcome = await sender().post(message(`http://127.0.0.1:${port}/`), dripping.signal);
    expect(outcome).toEqual({ kind: 'failed', error: 'timeout' });
    const unresolved = new AbortController();
    const silentDns: HostResolver = {
      resolve: () => {
        queueMicrotask(() => unresolved.abort());
        return new Promise(() => undefined);
      },
    };
    expect(await sender(silentDns).post(message('https://silent.example.com/'), unresolved.signal)).toEqual({
      kind: 'failed',
      error: 'timeout',
    });
  });

  it('is reported in words that say nothing of our network', async () => {
    receiver.answer = () => 'cut';
    expect(await sender().post(message())).toEqual({ kind: 'failed', error: 'connection_failed' });
    const port = await listen(createTcpServer());
    await new Promise((resolve) => servers.pop()?.close(resolve));
    expect(await sender().post(message(`http://127.0.0.1:${port}/`))).toEqual({
      kind: 'failed',
      error: 'connection_failed',
    });
    const nowhere = new ScriptedResolver([[]]);
    expect(await sender(nowhere).post(message('https://nowhere.example.com/'))).toEqual({
      kind: 'failed',
      error: 'host_not_found',
    });
  });

  it('is not sent over a TLS connection that no authority vouches for', async () => {
    let requests = 0;
    // A certificate that no authority vouches for, made here: a key in a file is a leaked key.
    const { cert, private: key } = await selfSigned([{ name: 'commonName', value: '127.0.0.1' }], {
      keyType: 'ec',
    });
    const server = createTlsServer({ cert, key }, (_request, response) => {
      requests += 1;
      response.end();
    });
    const port = await listen(server);
    expect(await sender().post(message(`https://127.0.0.1:${port}/`))).toEqual({
      kind: 'failed',
      error: 'tls_failed',
    });
    expect(requests).toBe(0);
  });
});

describe('the inside of our network', () => {
  it('is never connected to by a name that leads there, whatever the setting allows', async () => {
    const { port } = receiver;
    for (const inside of [
      '127.0.0.1',
      '::1',
      '10.0.0.1',
      '169.254.169.254',
      '::ffff:127.0.0.1',
      '64:ff9b::7f00:1',
    ]) {
      for (const lenient of [true, false]) {
        const resolver = new ScriptedResolver([[inside]]);
        const outcome = await sender(resolver, lenient).post(
          message(`https://innocent.example.com:${port}/`),
        );
        expect({ inside, outcome }).toEqual({
          inside,
          outcome: { kind: 'failed', error: 'address_refused' },
        });
      }
    }
    expect(receiver.received).toEqual([]);
  });

  it('is never connected to by a name that leads to the outside as well', async () => {
    const resolver = new ScriptedResolver([['93.184.215.14', '127.0.0.1']]);
    const outcome = await sender(resolver).post(message(`https://both.example.com:${receiver.port}/`));
    expect(outcome).toEqual({ kind: 'failed', error: 'address_refused' });
    expect(receiver.received).toEqual([]);
  });

  it('is never connected to by address when the setting does not allow it, however the URL was stored', async () => {
    const outcome = await sender(NEVER_ASKED, false).post(message());
    expect(outcome).toEqual({ kind: 'failed', error: 'address_refused' });
    expect(receiver.received).toEqual([]);
    expect(NEVER_ASKED.lookUps).toEqual([]);
  });

  it('nor the outside by a stored URL that would not be taken today: nothing is even looked up', async () => {
    const resolver = new ScriptedResolver([['93.184.215.14']]);
    for (const url of [
      'http://example.com/',
      'https://example.com:25/',
      'https://user:secret@example.com/',
    ]) {
      const outcome = await sender(resolver, false).post(message(url));
      expect(outcome).toEqual({ kind: 'failed', error: 'address_refused' });
    }
    expect(resolver.lookUps).toEqual([]);
  });

  it('is not reached by a name that changes its answer between the check and the connection', async () => {
    // Were the name looked up again to connect, the second answer would lead here, and the receiver would be asked.
    const { port } = receiver;
    const rebinding = new ScriptedResolver([['93.184.215.14'], ['127.0.0.1']]);
    const connections: string[] = [];
    const guarded = sender(rebinding);
    const outcome = await withConnectionsWatched(connections, () =>
      guarded.post(message(`https://rebinding.example.com:${port}/`)),
    );
    expect(rebinding.lookUps).toEqual(['rebinding.example.com']);
    expect(connections).toEqual([`93.184.215.14:${port}`]);
    expect(outcome.kind).toBe('failed');
    expect(receiver.received).toEqual([]);
    expect(await guarded.post(message(`https://rebinding.example.com:${port}/`))).toEqual({
      kind: 'failed',
      error: 'address_refused',
    });
  });
});

/** Notes where sockets want to go, and lets none leave this machine. */
async function withConnectionsWatched<T>(seen: string[], work: () => Promise<T>): Promise<T> {
  const { Socket } = await import('node:net');
  const prototype = Socket.prototype as unknown as { connect: (...args: unknown[]) => unknown };
  const original = prototype.connect;
  prototype.connect = function (this: InstanceType<typeof Socket>, ...args: unknown[]) {
    const options = (Array.isArray(args[0]) ? (args[0] as unknown[])[0] : args[0]) as {
      host: string;
      port: number;
      lookup?: (host: string, options: object, callback: (...answer: unknown[]) => void) => void;
    };
    options.lookup?.(options.host, { all: true }, (_error, addresses) => {
      for (const { address } of addresses as { address: string }[]) seen.push(`${address}:${options.port}`);
    });
    queueMicrotask(() => this.destroy(new Error('kept on this machine')));
    return this;
  };
  try {
    return await work();
  } finally {
    prototype.connect = original;
  }
}
