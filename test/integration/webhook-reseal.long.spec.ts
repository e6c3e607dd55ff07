import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { SealBrokenError } from '../../src/platform/common/sealed-box.js';
import type { MasterKey } from '../../src/platform/config/settings.js';
import { WebhookEventsService } from '../../src/notifications/webhooks/webhook-events.service.js';
import { WebhookResealJob } from '../../src/notifications/webhooks/webhook-reseal.job.js';
import { EventReceiver, isGenuine } from '../support/webhooks/event-receiver.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import {
  attempt,
  createEndpoint,
  deliveriesTo,
  type TestEndpoint,
} from '../support/webhooks/webhook-deliveries.js';

const keyNamed = (id: string): MasterKey => ({ id, key: randomBytes(32) });
const OLD = keyNamed('k1');
const NEW = keyNamed('k2');
const NEWEST = keyNamed('k0');

let first: TestApp;
let receiver: EventReceiver;

beforeAll(async () => {
  receiver = await EventReceiver.start();
  first = await startTestApp({ settings: { masterKeys: [OLD], webhookLoopback: true, rateLimit: false } });
});
afterAll(async () => {
  await receiver.close();
  await first.close();
});

/** Another process on the same database. */
async function withKeys(
  masterKeys: readonly MasterKey[],
  work: (app: TestApp, logged: string[]) => Promise<void>,
): Promise<void> {
  const logged: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged.push(chunk.toString());
      done();
    },
  });
  const settings = { masterKeys, webhookLoopback: true, rateLimit: false };
  const app = await startTestApp({ databaseUrl: first.databaseUrl, settings, log: pino(stream) });
  try {
    await work(app, logged);
  } finally {
    await app.close();
  }
}

const reseal = (app: TestApp): Promise<void> => app.app.get(WebhookResealJob, { strict: false }).run();

async function rotate(app: TestApp, { apiKey }: TestCustomer, { id }: TestEndpoint): Promise<TestEndpoint> {
  const answer = await app.client(apiKey).post(`/v1/webhook_endpoints/${id}/rotate_secret`);
  return { id, secret: String(answer.expect(200).body.secret) };
}

/** Sends one event; answers what came. */
async function deliver(app: TestApp, customer: TestCustomer, endpoint: TestEndpoint) {
  const { accountId } = customer;
  await app.app
    .get(WebhookEventsService, { strict: false })
    .publish(null, { accountId, type: 'top_up.succeeded', data: { id: 'tu_1' } });
  const delivery = (await deliveriesTo(app, endpoint)).at(-1);
  if (delivery === undefined) throw new Error('nothing is to be delivered');
  await attempt(app, delivery);
  return receiver.received.find(({ id }) => id === delivery.event_id);
}

/** Which keys seal what is stored, newest and previous secrets together. */
async function keysInUse(): Promise<string[]> {
  const rows = await first.dataSource.query<{ key: string }[]>(
    `SELECT DISTINCT key FROM webhook_endpoints, unnest(ARRAY[secret_key_id, previous_secret_key_id]) AS key
      WHERE key IS NOT NULL ORDER BY key`,
  );
  return rows.map(({ key }) => key);
}

describe('signing secrets', () => {
  it('that an old master key sealed are sealed by the newest, and sign as before when the old key is gone', async () => {
    const customer = await first.createCustomer();
    const plain = await createEndpoint(customer, receiver.url, ['top_up.succeeded']);
    const other = await first.createCustomer();
    const before = await createEndpoint(other, receiver.url, ['top_up.succeeded']);
    const rotated = await rotate(first, other, before);
    await withKeys([NEW, OLD], async (app) => {
      await reseal(app);
      await reseal(app);
    });
    expect(await keysInUse()).toEqual(['k2']);
    await withKeys([NEW], async (app) => {
      const received = await deliver(app, customer, plain);
      expect(received !== undefined && isGenuine(received, plain.secret)).toBe(true);
      const both = await deliver(app, other, rotated);
      expect(both !== undefined && isGenuine(both, rotated.secret) && isGenuine(both, before.secret)).toBe(
        true,
      );
    });
  });

  it('keep signing while master keys, secrets and deliveries change all at once', async () => {
    await withKeys([NEW, OLD], async (app) => {
      // Sealed by a process that does not know the newest key yet.
      const customers = await Promise.all(Array.from({ length: 8 }, () => app.createCustomer()));
      const endpoints = await Promise.all(
        customers.map((customer) => createEndpoint(customer, receiver.url, ['top_up.succeeded'])),
      );
      await withKeys([NEWEST, NEW, OLD], async (next) => {
        const rounds = customers.map(async (customer, index) => {
          let endpoint = endpoints[index] as TestEndpoint;
          for (let round = 0; round < 6; round += 1) {
            if (round % 2 === 1) endpoint = await rotate(next, customer, endpoint);
            const received = await deliver(next, customer, endpoint);
            expect(received !== undefined && isGenuine(received, endpoint.secret)).toBe(true);
          }
        });
        const sealing = (async () => {
          for (let count = 0; count < 15; count += 1) await reseal(next);
        })();
        await Promise.all([...rounds, sealing]);
        await reseal(next);
        expect(await keysInUse()).toEqual(['k0']);
      });
    });
  });

  it('whose key is lost are named in the log, send nothing, and keep no others from being sealed', async () => {
    let lostOne: { customer: TestCustomer; endpoint: TestEndpoint } | null = null;
    await withKeys([keyNamed('lost')], async (app) => {
      const customer = await app.createCustomer();
      lostOne = { customer, endpoint: await createEndpoint(customer, receiver.url, ['top_up.succeeded']) };
    });
    await withKeys([OLD], async (app) => {
      await createEndpoint(await app.createCustomer(), receiver.url);
    });
    await withKeys([NEWEST, OLD], async (app, logged) => {
      await reseal(app);
      expect(await keysInUse()).toEqual(['k0', 'lost']);
      const errors = logged.filter((line) => line.includes('"level":50'));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toContain("COFFER_MASTER_KEYS has no key 'lost' any more");
      expect(errors[0]).toContain('"event":"webhook_secrets.unreadable","count":1');
      if (lostOne === null) throw new Error('there is no such endpoint');
      const { customer, endpoint } = lostOne;
      const count = receiver.received.length;
      await expect(deliver(app, customer, endpoint)).rejects.toThrow(SealBrokenError);
      expect(receiver.received).toHaveLength(count);
      // The owner rotates the secret, and the log is quiet again.
      const rotated = await rotate(app, customer, endpoint);
      const received = await deliver(app, customer, rotated);
      expect(received !== undefined && isGenuine(received, rotated.secret)).toBe(true);
    });
  });
});
