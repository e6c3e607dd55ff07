import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { OFF_SESSION_PAYMENTS } from '../../src/payments/stripe/off-session-payments.js';
import { AutoTopUpChargesService } from '../../src/payments/auto-top-ups/auto-top-up-charges.service.js';
import { AutoTopUpRepository } from '../../src/payments/auto-top-ups/auto-top-up.repository.js';
import { AutoTopUpSwitchService } from '../../src/payments/auto-top-ups/auto-top-up-switch.service.js';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { WalletReaderService } from '../../src/money/wallets/wallet-reader.service.js';
import {
  allLooked,
  availableOf,
  type CardCustomer,
  chargesOf,
  customerWithCard,
  endCooldown,
  intentsAtStripe,
  spend,
  switchOn,
} from '../support/payments/auto-top-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

let app: TestApp;
/** Another process on the same database. It runs no jobs: what it does, a test has asked for. */
let second: TestApp;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  const { stripe, operatorKey, masterKeys } = app.settings;
  const settings = { stripe, operatorKey, masterKeys, runJobs: false };
  second = await startTestApp({ databaseUrl: app.databaseUrl, settings });
});

afterEach(async () => {
  jest.restoreAllMocks();
  control.clearFaults();
  await allLooked(app);
  await expectBooksToBalance(app.dataSource);
});

afterAll(async () => {
  await second.close();
  await app.close();
});

/** Below its threshold, with nothing queued that would notice. */
async function customerBelow(): Promise<CardCustomer> {
  const customer = await customerWithCard(app);
  await switchOn(customer);
  await allLooked(app);
  await app.dataSource.query('UPDATE auto_top_ups SET threshold_micros = 10000001 WHERE account_id = $1', [
    customer.accountId,
  ]);
  return customer;
}

const lookAt = (process: TestApp, { accountId }: CardCustomer): Promise<void> =>
  process.app.get(AutoTopUpChargesService).check(accountId);

/** By everything that Stripe has for this customer, but the payment that saved the card. */
async function expectOneChargeAndCredit(customer: CardCustomer): Promise<void> {
  const charges = (await chargesOf(app, customer.accountId)).filter(({ status }) => status !== 'failed');
  expect(charges).toMatchObject([{ status: 'paid', charge_cents: '2100' }]);
  const { stripe } = app.settings;
  const url = new URL(`/v1/payment_intents?customer=${customer.customerId}`, stripe?.apiBase ?? '');
  const answer = await fetch(url, { headers: { authorization: `Bearer ${stripe?.secretKey}` } });
  expect(((await answer.json()) as { data: unknown[] }).data).toHaveLength(2);
  expect(await availableOf(customer)).toBe(30_000_000n);
}

describe('auto top-up in two processes', () => {
  it('charges once, however many looks at one wallet race', async () => {
    for (let round = 0; round < 5; round += 1) {
      const customer = await customerBelow();
      const looks = Array.from({ length: 16 }, (_, index) =>
        // Stripe refuses the request that meets the other process's, and that process checks again later.
        lookAt(index % 2 === 0 ? app : second, customer).catch(() => undefined),
      );
      await Promise.all(looks);
      await lookAt(second, customer);
      await expectOneChargeAndCredit(customer);
    }
  });

  it('never exceeds its caps, never has two under way, and sends nothing out after "off", while all of that races', async () => {
    const customer = await customerWithCard(app);
    const { accountId } = customer;
    const terms = { daily_max_count: 4, threshold_micros: '900000000' };
    const offs: [from: number, to: number][] = [];
    await switchOn(customer, terms);
    for (let round = 0; round < 12; round += 1) {
      await endCooldown(app, accountId);
      const looks = Array.from({ length: 6 }, (_, index) =>
        lookAt(index % 2 === 0 ? app : second, customer).catch(() => undefined),
      );
      const spent = spend(app, accountId, 1_000_000n);
      if (round % 3 === 1) await customer.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
      const offFrom = Date.now();
      await Promise.all([...looks, spent]);
      if (round % 3 !== 1) continue;
      await Promise.all(
        [lookAt(app, customer), lookAt(second, customer)].map((look) => look.catch(() => undefined)),
      );
      offs.push([offFrom, Date.now()]);
      await switchOn(customer, terms);
    }
    await allLooked(app);
    const charges = await chargesOf(app, accountId);
    const taken = charges.filter(({ status }) => status !== 'failed');
    expect(taken.length).toBeGreaterThan(1);
    expect(taken.length).toBeLessThanOrEqual(4);
    expect(offs).toHaveLength(4);
    const sent = charges.flatMap(({ dispatched_at: at }) => (at === null ? [] : [at.getTime()]));
    for (const [from, to] of offs) expect(sent.filter((at) => at > from && at < to)).toEqual([]);
    const known = await intentsAtStripe(
      app,
      customer,
      charges.map(({ id }) => id),
    );
    expect(known.filter((status) => status === 'succeeded')).toHaveLength(taken.length);
    expect(await availableOf(customer)).toBe(10_000_000n - 12_000_000n + BigInt(taken.length) * 20_000_000n);
  });

  it('withdraws a charge that was written down, but not sent out, when it is switched off in between', async () => {
    const customer = await customerBelow();
    const repository = second.app.get(AutoTopUpRepository);
    const usual = repository.lock.bind(repository);
    let locks = 0;
    jest.spyOn(repository, 'lock').mockImplementation(async (...args) => {
      locks += 1;
      // The second lock is the dispatch: the first one wrote the row.
      if (locks === 2) await customer.client.send('PUT', '/v1/auto_top_up', { body: { enabled: false } });
      return usual(...args);
    });
    await lookAt(second, customer);
    expect(locks).toBe(2);
    const charges = await chargesOf(app, customer.accountId);
    expect(charges).toMatchObject([{ status: 'failed', failure_code: 'withdrawn', dispatched_at: null }]);
    expect(await intentsAtStripe(app, customer, [charges[0]?.id ?? ''])).toEqual([null]);
  });
});

type Step = readonly [token: unknown, method: string];

/** Everything outside this process that one auto top-up reads or changes: wherever it is cut off, it is at one of these. */
const STEPS: readonly Step[] = [
  [AutoTopUpRepository, 'openCharge'],
  [AutoTopUpRepository, 'find'],
  [AutoTopUpRepository, 'lock'],
  [AutoTopUpRepository, 'usage'],
  [AutoTopUpRepository, 'markDispatched'],
  [AutoTopUpSwitchService, 'recheck'],
  [TopUpRepository, 'insert'],
  [TopUpRepository, 'move'],
  [WalletReaderService, 'read'],
  [WalletEngine, 'execute'],
  [OFF_SESSION_PAYMENTS, 'charge'],
  [OFF_SESSION_PAYMENTS, 'find'],
];

/** From its step number `at` on, nothing of this process reaches anything any more. Answers how many steps it made. */
function dieAt(process: TestApp, at: number): () => number {
  let steps = 0;
  const live = (): void => {
    steps += 1;
    if (steps >= at) throw new Error('this process is dead');
  };
  for (const [token, method] of STEPS) {
    const service = process.app.get<Record<string, (...args: unknown[]) => Promise<unknown>>>(token as never);
    const usual = service[method]?.bind(service);
    if (usual === undefined) throw new Error(`there is no ${method}`);
    jest.spyOn(service, method).mockImplementation(async (...args) => {
      live();
      const result = await usual(...args);
      // What it did is done, and its result is never heard of.
      live();
      return result;
    });
  }
  return () => steps;
}

describe('a process that dies at any step of an auto top-up', () => {
  it('leaves it to another one: one charge, one credit', async () => {
    control.setWebhookFaults({ loseEvents: false });
    let died = 0;
    for (let at = 1; ; at += 1) {
      const customer = await customerBelow();
      control.setWebhookFaults({ loseEvents: true });
      const steps = dieAt(second, at);
      await lookAt(second, customer).catch(() => undefined);
      const hasDied = steps() >= at;
      jest.restoreAllMocks();
      await lookAt(app, customer);
      await expectOneChargeAndCredit(customer);
      control.setWebhookFaults({ loseEvents: false });
      if (!hasDied) break;
      died += 1;
    }
    expect(died).toBeGreaterThan(20);
  }, 120_000);
});
