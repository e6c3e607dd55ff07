import { beforeAll, describe, expect, it } from '@jest/globals';
import { KeyUseRecord } from '../../src/identity/api-keys/key-use-record.service.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import { startTestApp } from '../support/app/test-app.js';
import type { TestClient } from '../support/app/test-client.js';

let app: SharedApp;
beforeAll(async () => {
  app = await sharedApp();
});

/** As each process does once a minute. */
const write = ({ app: nest } = app) => nest.get(KeyUseRecord, { strict: false }).write();
const nowSeconds = (): number => Math.trunc(app.clock.nowMs() / 1_000);

async function aKey() {
  const { accountId } = await app.createCustomer();
  const path = `/v1/accounts/${accountId}/api_keys`;
  const { id, secret } = (await app.operator.post(path, { name: 'k', scopes: ['generate'] })).expect(
    201,
  ).body;
  const lastUse = async (): Promise<number | null> => {
    const { data } = (await app.operator.get(path)).expect(200).body;
    return data.find((key: { id: string }) => key.id === id).last_used_at;
  };
  const version = async (): Promise<string> =>
    (await app.dataSource.query('SELECT xmin::text FROM api_keys WHERE id = $1', [id]))[0].xmin;
  return { id, secret, client: app.client(secret), lastUse, version };
}

const use = async (client: TestClient): Promise<void> => void (await client.get('/v1/models')).expect(200);

describe('the last use of a key', () => {
  it('is shown, written at most once a minute however much the key is used, and by no request', async () => {
    app = await sharedApp();
    const twin = await sharedTwin();
    const key = await aKey();
    await write();
    expect(await key.lastUse()).toBeNull();
    for (const { clock } of [app, twin]) clock.stop();
    const firstAt = nowSeconds();
    const unwritten = await key.version();
    for (let call = 0; call < 5; call += 1) await use(key.client);
    expect(await key.version()).toBe(unwritten);
    await write();
    expect(await key.lastUse()).toBe(firstAt);
    const written = await key.version();

    for (const [client, service] of [
      [key.client, app],
      [twin.client(key.secret), twin],
    ] as const) {
      await use(client);
      await write(service);
    }
    expect(await key.version()).toBe(written);

    for (const { clock } of [app, twin]) clock.letPass(60_000);
    await use(key.client);
    await write();
    expect(await key.lastUse()).toBe(firstAt + 60);
    // A key that is not used is not written.
    const last = await key.version();
    app.clock.letPass(600_000);
    await write();
    expect(await key.version()).toBe(last);
  });

  it('counts requests that were let in, not those of a key that is refused', async () => {
    app = await sharedApp();
    const key = await aKey();
    await app.dataSource.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [key.id]);
    (await key.client.get('/v1/models')).expect(401);
    await write();
    expect(await key.lastUse()).toBeNull();
  });

  it('waits for no other session, and none waits for it: a locked key is written after its next use', async () => {
    app = await sharedApp();
    const [locked, free] = [await aKey(), await aKey()];
    await use(locked.client);
    await use(free.client);
    await app.app.get(TransactionRunner).run(async (tx) => {
      await tx.query('SELECT FROM api_keys WHERE id = $1 FOR UPDATE', [locked.id]);
      await write();
    });
    expect(await free.lastUse()).not.toBeNull();
    expect(await locked.lastUse()).toBeNull();
    await use(locked.client);
    await write();
    expect(await locked.lastUse()).not.toBeNull();
  });

  it('is written when a process ends', async () => {
    app = await sharedApp();
    const key = await aKey();
    const brief = await startTestApp({ databaseUrl: app.databaseUrl });
    await use(brief.client(key.secret));
    await brief.close();
    expect(await key.lastUse()).not.toBeNull();
  });
});
