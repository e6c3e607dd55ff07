import { beforeAll, describe, expect, it } from '@jest/globals';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { makeApiKey } from '../../src/identity/auth/credentials.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const PROBE = '/v1/api_keys';

let service: TestApp;

beforeAll(async () => {
  service = await sharedApp();
});

describe('while the database is away', () => {
  it('a key in use works until what is known of it lapses, then gets a 503, and works again after', async () => {
    const proxy = await startProxy(service.databaseUrl);
    const app = await startTestApp({ databaseUrl: proxy.url });
    const { apiKey } = await service.createCustomer({ scopes: ['generate'] });
    // Lacks the scope: 403 says that the key was recognised, without asking the database for anything else.
    const probe = () => app.client(apiKey).get(PROBE);
    (await probe()).expect(403);

    app.clock.stop();
    (await probe()).expect(403);
    await proxy.cut();
    (await probe()).expect(403);
    app.clock.letPass(1_000);
    for (let index = 0; index < 5; index += 1) {
      const answer = (await probe()).expect(503);
      expect(answer.body.error.code).toBe('database_unavailable');
      expect(answer.headers.get('retry-after')).toBe('1');
    }
    // An unknown, well-formed key is not refused as invalid, because without the database the service cannot know that.
    (await app.client(makeApiKey('account_key')).get(PROBE)).expect(503);
    (await app.client('sk-cof-malformed').get(PROBE)).expect(401);
    // The key of the environment needs no database.
    (await app.operator.get(PROBE)).expect(403);

    await proxy.restore();
    await eventually('the key works again', async () => (await probe()).status === 403);
    await app.close();
    await proxy.close();
  });
});

type Proxy = { readonly url: string; cut(): Promise<void>; restore(): Promise<void>; close(): Promise<void> };

/** A proxy between a service and its database. To the service, cutting it is the same as the death of the database. */
async function startProxy(databaseUrl: string): Promise<Proxy> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  const accept = (client: Socket): void => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => (sockets.delete(socket), other.destroy()));
      socket.pipe(other);
    }
  };
  const listen = (port: number): Promise<Server> =>
    new Promise((resolve) => {
      const server = createServer(accept).listen(port, '127.0.0.1', () => resolve(server));
    });
  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const cut = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  return {
    url: url.href,
    cut,
    restore: async () => {
      server = await listen(port);
    },
    close: cut,
  };
}
