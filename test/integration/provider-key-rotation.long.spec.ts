import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { DataSource } from 'typeorm';
import { ProviderKeyRewrapService } from '../../src/gateway/provider-keys/upkeep/provider-key-rewrap.service.js';
import type { MasterKey } from '../../src/platform/config/settings.js';
import { capturedMicros, generate } from '../fixtures/images.js';
import { attach, makeProviderKey, PROVIDER, walletRowsOf } from '../support/images/provider-keys.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

const CREDIT_MICROS = 1_000_000n;
/** Ends the load of a test that failed. */
const CALLS_MAX = 2_000;
const older: MasterKey = { id: 'older', key: randomBytes(32) };
const newer: MasterKey = { id: 'newer', key: randomBytes(32) };

let before: TestApp;
beforeAll(async () => {
  before = await startTestApp({ blackForestLabs: true, settings: { masterKeys: [older], rateLimit: false } });
});
afterAll(() => before.close());

let logged = '';
const log = pino({ level: 'trace' }, { write: (line: string) => void (logged += line) });

/** The same service after a restart with other master keys. */
function restartedWith(...masterKeys: MasterKey[]): Promise<TestApp> {
  const { dataDir, blackForestLabs, publicUrl } = before.settings;
  return startTestApp({
    databaseUrl: before.databaseUrl,
    settings: {
      masterKeys,
      dataDir,
      blackForestLabs,
      publicUrl: publicUrl ?? new URL(before.url),
      rateLimit: false,
    },
    log,
  });
}

const at = (service: TestApp, { apiKey }: TestCustomer) => ({ client: service.client(apiKey) });

async function masterKeysInUse(): Promise<Record<string, number>> {
  const rows = await before.dataSource.query<{ id: string; count: string }[]>(
    'SELECT master_key_id AS id, count(*) FROM provider_keys WHERE ciphertext IS NOT NULL GROUP BY 1',
  );
  return Object.fromEntries(rows.map(({ id, count }) => [id, Number(count)]));
}

describe('rotating the master keys', () => {
  it('rewraps every key under load in several processes, and not one call fails or changes who pays', async () => {
    const customers = await Promise.all(Array.from({ length: 130 }, () => before.createCustomer()));
    for (const customer of customers) await attach(customer, makeProviderKey(before));
    const apps = await Promise.all([restartedWith(newer, older), restartedWith(newer, older)]);
    expect(await masterKeysInUse()).toEqual({ older: 130 });
    let isOver = false;
    const answered: string[] = [];
    const clients = customers.slice(0, 8).map(async (customer, index) => {
      const app = apps[index % 2] ?? before;
      while (!isOver && answered.length < CALLS_MAX) {
        const { status, headers } = await generate(at(app, customer));
        answered.push(`${status} ${headers.get('x-billing-mode')} ${headers.get('x-charged-micros')}`);
      }
    });
    const answers = (count: number) =>
      eventually(`${count} calls are answered`, () => answered.length >= count || isOver);
    await answers(24);
    // Keys are replaced and removed concurrently, so a key that was read may be gone when it is written.
    const changes = customers
      .slice(100)
      .map((customer, index) =>
        index % 2 === 0
          ? attach(at(apps[1] ?? before, customer), makeProviderKey(before))
          : customer.client.delete(`/v1/provider_keys/${PROVIDER}`),
      );
    const rewraps = [...apps, ...apps].map(({ app }) => app.get(ProviderKeyRewrapService).run());
    const counts = await Promise.all(rewraps)
      .then(async (done) => {
        await answers(answered.length + 24);
        return done;
      })
      .finally(() => (isOver = true));
    await Promise.all([...changes, ...clients]);
    expect(counts.map(({ unreadable }) => unreadable)).toEqual([0, 0, 0, 0]);
    // Each row was exchanged once, by whichever process came first.
    expect(counts.reduce((sum, { rewrapped }) => sum + rewrapped, 0)).toBe(130);
    expect(Object.keys(await masterKeysInUse())).toEqual(['newer']);
    expect(answered.length).toBeGreaterThanOrEqual(48);
    expect(new Set(answered)).toEqual(new Set(['200 byok 0']));
    await Promise.all(apps.map((app) => app.close()));
    // The old master key is retired, and every key still opens.
    const after = await restartedWith(newer);
    const modes = await Promise.all(
      customers
        .slice(0, 20)
        .map(async (customer) => (await generate(at(after, customer))).headers.get('x-billing-mode')),
    );
    expect(new Set(modes)).toEqual(new Set(['byok']));
    expect(await after.app.get(ProviderKeyRewrapService).run()).toEqual({ rewrapped: 0, unreadable: 0 });
    await after.close();
  });
});

describe('a lost master key', () => {
  it('is named, stops the calls of the accounts that need it, and no one pays for them; all else goes on', async () => {
    const owner = await before.createCustomer({ grantMicros: CREDIT_MICROS });
    const paying = await before.createCustomer({ grantMicros: CREDIT_MICROS });
    const id = await attach(owner, makeProviderKey(before), { fall_back_to_wallet: true });
    const rows = await walletRowsOf(before, owner.accountId);
    const after = await restartedWith(newer);
    const client = after.client(owner.apiKey);
    for (const headers of [{}, { 'Idempotency-Key': 'k' }]) {
      const answer = (await generate({ client }, {}, headers)).expect(503);
      expect(answer.body.error).toMatchObject({
        code: 'provider_key_unreadable',
        missing_master_key: 'older',
        charged_micros: '0',
        provider_key: id,
      });
      expect(answer.headers.get('x-charged-micros')).toBe('0');
      expect(answer.headers.get('x-should-retry')).toBe('false');
    }
    (await client.post(`/v1/provider_keys/${PROVIDER}/test`)).expect(503);
    expect(await walletRowsOf(before, owner.accountId)).toEqual(rows);
    // The service is up: others pay and are served, and the owner still sees, replaces and removes the key.
    (await generate(at(after, paying))).expect(200);
    expect((await after.client(null).get('/health/ready')).status).toBe(200);
    (await client.get(`/v1/provider_keys/${PROVIDER}`)).expect(200);
    const counts = await after.app.get(ProviderKeyRewrapService).run();
    expect(counts).toEqual({ rewrapped: 0, unreadable: 1 });
    expect(logged).toContain('"masterKey":"older"');
    await attach({ client }, makeProviderKey(before));
    expect((await generate({ client })).expect(200).headers.get('x-billing-mode')).toBe('byok');
    expect(await capturedMicros(before, owner.accountId)).toBe(0n);
    await after.close();
  });

  it('heals by itself when the master key is back', async () => {
    const owner = await before.createCustomer();
    await attach(owner, makeProviderKey(before));
    const without = await restartedWith(newer);
    (await generate(at(without, owner))).expect(503);
    await without.close();
    (await generate(owner)).expect(200);
  });
});

describe('rows that were tampered with', () => {
  it.each([
    ['the ciphertext of another account', 'ciphertext = o.ciphertext'],
    ['the data key of another account', 'wrapped_key = o.wrapped_key'],
    ['all of another account', 'ciphertext = o.ciphertext, wrapped_key = o.wrapped_key'],
  ])('open for no caller: %s', async (_what, change) => {
    const [thief, victim] = [await before.createCustomer(), await before.createCustomer()];
    await attach(thief, makeProviderKey(before));
    const key = makeProviderKey(before);
    await attach(victim, key);
    const owner = await new DataSource({ type: 'postgres', url: before.databaseUrl }).initialize();
    // Only the owner of the table could, past its own trigger.
    await owner.transaction(async (tx) => {
      await tx.query('ALTER TABLE provider_keys DISABLE TRIGGER provider_keys_audited');
      await tx.query(
        `UPDATE provider_keys t SET ${change} FROM provider_keys o WHERE t.account_id = $1 AND o.account_id = $2`,
        [thief.accountId, victim.accountId],
      );
      await tx.query('ALTER TABLE provider_keys ENABLE TRIGGER provider_keys_audited');
    });
    await owner.destroy();
    const second = await restartedWith(older);
    const answer = (await generate(at(second, thief))).expect(503);
    expect(answer.body.error).toMatchObject({ code: 'provider_key_unreadable', charged_micros: '0' });
    expect(answer.body.error).not.toHaveProperty('missing_master_key');
    expect(before.blackForestLabs?.control.countsOf(key).submits).toBe(0);
    await second.close();
  });
});
