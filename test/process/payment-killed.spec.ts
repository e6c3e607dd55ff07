import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { startSandboxStripe } from 'coffer-sandbox/stripe/server';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
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

const PAYMENTS = 8;
const CREDIT_CENTS = 1_000;
const CREDIT_MICROS = 10_000_000;
/** The kill falls anywhere between the first payment and the last credit. */
const KILL_WITHIN_MS = 120;

type TopUp = { readonly id: string; readonly checkoutUrl: string };
type Env = Readonly<Record<string, string>>;

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('the service is killed with -9 between "paid at Stripe" and "credited"', () => {
  const random = seededRandom('payment killed');
  const cleanUp = new CleanUp();
  let dataDir: string;
  let port: number;
  let service: ServiceProcess;

  beforeAll(async () => {
    dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    port = await chooseServicePort();
  });

  afterAll(() => cleanUp.run());

  async function start(env: Env): Promise<void> {
    service = await ServiceProcess.start({ dataDir, port, env });
    const started = service;
    cleanUp.add(() => started.kill());
  }

  async function newTopUp(customer: TestClient): Promise<TopUp> {
    const { body } = (await customer.post('/v1/top_ups', { credit_cents: CREDIT_CENTS })).expect(201);
    return { id: body.id, checkoutUrl: body.checkout_url };
  }

  /** As the customer on the payment page. Once it was answered, and whatever the answer, it is paid. */
  async function pay({ checkoutUrl }: TopUp): Promise<void> {
    const headers = { accept: 'application/json' };
    const { status } = await fetch(`${checkoutUrl}/pay`, { method: 'POST', headers });
    expect([200, 409]).toContain(status);
  }

  /** Pays several top-ups, kills the service in the middle, starts it again, and waits for the credit. */
  async function playRound(env: Env): Promise<string> {
    const account = await newAccount(service);
    const customer = service.client(await newApiKey(service, account, ['wallet:read', 'wallet:write']));
    const topUps = await Promise.all(Array.from({ length: PAYMENTS }, () => newTopUp(customer)));
    const paying = topUps.map(async (topUp) => {
      await momentLater(random.between(0, KILL_WITHIN_MS));
      // The page may lie in the process that is killed; then the customer tries again below.
      return pay(topUp).then(
        () => true,
        () => false,
      );
    });
    await Promise.any([...paying, momentLater(KILL_WITHIN_MS)]);
    await momentLater(random.between(0, KILL_WITHIN_MS));
    await service.kill();
    const paid = await Promise.all(paying);
    await start(env);
    await Promise.all(topUps.filter((_, index) => paid[index] === false).map(pay));
    await eventually('every payment is credited', async () => {
      const { body } = await customer.get('/v1/top_ups?limit=100');
      return body.data.every((topUp: { status: string }) => topUp.status === 'paid');
    });
    const { body: wallet } = (await customer.get('/v1/wallet')).expect(200);
    expect(wallet.posted_micros).toBe(String(PAYMENTS * CREDIT_MICROS));
    return account;
  }

  async function expectOneCreditEach(accounts: readonly string[]): Promise<void> {
    await withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const credits = await database.query<unknown[]>(
        `SELECT account_id AS account, count(*)::int AS credits, count(DISTINCT reference)::int AS payments,
                sum(amount_micros)::text AS micros
           FROM transfers WHERE kind = 'top_up' GROUP BY account_id ORDER BY account_id`,
      );
      const micros = String(PAYMENTS * CREDIT_MICROS);
      const expected = accounts.map((account) => ({
        account,
        credits: PAYMENTS,
        payments: PAYMENTS,
        micros,
      }));
      expect(credits).toEqual(expected.sort((one, other) => (one.account < other.account ? -1 : 1)));
      await expectBooksToBalance(database);
    });
  }

  it('credits each payment exactly once when its simulator of Stripe dies with it', async () => {
    await start({});
    await expectOneCreditEach([await playRound({})]);
    await service.kill();
  });

  it('credits each payment exactly once when Stripe lives on, and sends every event three times, out of order', async () => {
    const secretKey = `sk_test_${randomBytes(12).toString('hex')}`;
    const webhookEndpoint = {
      url: `http://127.0.0.1:${port}/webhooks/stripe`,
      secret: `whsec_${randomBytes(12).toString('hex')}`,
    };
    const stripe = await startSandboxStripe({ apiKey: secretKey, webhookEndpoint, webhookRetryDelayMs: 20 });
    cleanUp.add(() => stripe.close());
    stripe.control.setWebhookFaults({ copies: 3, reorder: true });
    const env = {
      STRIPE_SECRET_KEY: secretKey,
      STRIPE_WEBHOOK_SECRET: webhookEndpoint.secret,
      STRIPE_API_BASE: stripe.baseUrl,
    };
    await start(env);
    const before = await creditedAccounts();
    const account = await playRound(env);
    await stripe.control.whenDelivered();
    await eventually('no event waits for its job', async () => (await waitingEvents()) === 0);
    await expectOneCreditEach([...before, account]);
  });

  const creditedAccounts = async (): Promise<string[]> =>
    withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const sql = `SELECT DISTINCT account_id AS account FROM transfers WHERE kind = 'top_up'`;
      return (await database.query<{ account: string }[]>(sql)).map(({ account }) => account);
    });

  const waitingEvents = async (): Promise<number> =>
    withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const sql = 'SELECT count(*)::int AS count FROM stripe_events WHERE processed_at IS NULL';
      return (await database.query<{ count: number }[]>(sql))[0]?.count ?? 0;
    });
});
