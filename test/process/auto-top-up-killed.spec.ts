import { randomBytes } from 'node:crypto';
import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { startSandboxStripe, type SandboxStripe } from 'coffer-sandbox/stripe/server';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { OPT_IN } from '../support/payments/auto-top-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually, momentLater } from '../support/processes.js';
import { seededRandom } from '../support/seeded-random.js';
import { newAccount, newApiKey } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/process/service-process.js';
import type { TestClient } from '../support/app/test-client.js';
import { sessionIdOf } from '../fixtures/top-up-books.js';

const WALLETS = 6;
/** The kill falls anywhere between the first look and the last credit. */
const KILL_WITHIN_MS = 400;
/** $10.00 were bought, and $20.00 are charged once. */
const REFILLED_MICROS = '30000000';

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('the service is killed with -9 while it tops wallets up', () => {
  const random = seededRandom('auto top-up killed');
  const cleanUp = new CleanUp();

  afterAll(() => cleanUp.run());

  it('charges and credits each wallet exactly once', async () => {
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    const port = await chooseServicePort();
    const { stripe, env } = await playStripe(port);
    let service = await start(env);

    const customers = await Promise.all(Array.from({ length: WALLETS }, () => customerWithCard(service)));
    // Slow enough that a kill finds requests on their way.
    stripe.control.failRequests({
      method: 'POST',
      pathPrefix: '/v1/payment_intents',
      delayMs: 60,
      times: WALLETS,
    });
    await Promise.all(customers.map(({ account }) => switchOn(service, account)));
    for (let kills = 0; kills < 2; kills += 1) {
      await momentLater(random.between(0, KILL_WITHIN_MS));
      await service.kill();
      service = await start(env);
    }
    for (const { account } of customers) {
      const { key } = account;
      await eventually('the wallet is refilled', async () => {
        const { body } = await service.client(key).get('/v1/wallet');
        return body.posted_micros === REFILLED_MICROS;
      });
    }
    // What the simulator could not deliver while the service was down waits longer each time.
    await stripe.control.whenDelivered(60_000);
    for (const { account } of customers) {
      const { body } = (await service.client(account.key).get('/v1/wallet')).expect(200);
      expect(body.posted_micros).toBe(REFILLED_MICROS);
    }
    await withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const rows = await database.query<{ account_id: string; customer_id: string; count: number }[]>(
        `SELECT account_id, customer_id, count(*)::int AS count FROM top_ups
          WHERE kind = 'auto' AND status <> 'failed' GROUP BY 1, 2`,
      );
      expect(rows.map(({ count }) => count)).toEqual(Array.from({ length: WALLETS }, () => 1));
      // One saved the card, one topped up.
      for (const { customer_id: id } of rows) expect(await intentsOf(stripe, env, id)).toBe(2);
      await expectBooksToBalance(database);
    });

    async function start(processEnv: Readonly<Record<string, string>>): Promise<ServiceProcess> {
      const started = await ServiceProcess.start({ dataDir, port, env: processEnv });
      cleanUp.add(() => started.kill());
      return started;
    }

    type Account = { readonly id: string; readonly key: string };

    async function customerWithCard(running: ServiceProcess): Promise<{ readonly account: Account }> {
      const id = await newAccount(running);
      const key = await newApiKey(running, id, ['wallet:read', 'wallet:write', 'cards:charge']);
      const client = running.client(key);
      const opened = await client.post('/v1/top_ups', { credit_cents: 1_000, save_card: true });
      await stripe.control.pay(sessionIdOf(opened.expect(201).body.checkout_url as string));
      await eventually('the card is saved', async () => (await cardOf(client)) !== null);
      return { account: { id, key } };
    }

    async function switchOn(running: ServiceProcess, { key }: Account): Promise<void> {
      const body = { ...OPT_IN, threshold_micros: '10000001' };
      (await running.client(key).send('PUT', '/v1/auto_top_up', { body })).expect(200);
    }
  });

  async function cardOf(client: TestClient): Promise<unknown> {
    return (await client.get('/v1/auto_top_up')).expect(200).body.card;
  }

  async function playStripe(port: number): Promise<{ stripe: SandboxStripe; env: Record<string, string> }> {
    const secretKey = `sk_test_${randomBytes(12).toString('hex')}`;
    const webhookEndpoint = {
      url: `http://127.0.0.1:${port}/webhooks/stripe`,
      secret: `whsec_${randomBytes(12).toString('hex')}`,
    };
    const stripe = await startSandboxStripe({ apiKey: secretKey, webhookEndpoint, webhookRetryDelayMs: 20 });
    cleanUp.add(() => stripe.close());
    const env = {
      STRIPE_SECRET_KEY: secretKey,
      STRIPE_WEBHOOK_SECRET: webhookEndpoint.secret,
      STRIPE_API_BASE: stripe.baseUrl,
    };
    return { stripe, env };
  }

  async function intentsOf(
    stripe: SandboxStripe,
    env: Readonly<Record<string, string>>,
    customerId: string,
  ): Promise<number> {
    const url = `${stripe.baseUrl}/v1/payment_intents?customer=${customerId}&limit=100`;
    const answer = await fetch(url, { headers: { authorization: `Bearer ${env['STRIPE_SECRET_KEY']}` } });
    return ((await answer.json()) as { data: unknown[] }).data.length;
  }
});
