/**
 * `npm run seed`: three customers with a history. One only tries what is free, one buys and spends credit, one brings a
 * provider key. All of it goes through the HTTP API (of the service that runs on the data directory, or of one that is
 * started for it) and the payment page of the simulated Stripe.
 *
 * A customer that is complete is left alone. One that was cut off goes on where it was: its keys are in `seed.json`, and
 * whatever costs money has an idempotency key. Only calls that are meant to fail are made again.
 */
import { join, resolve } from 'node:path';
import { loadDatabaseLocation } from '../src/platform/config/load-settings.js';
import { readPrivateJson, writePrivateJson } from '../src/bootstrap/first-run/private-file.js';
import {
  type Answer,
  callApi,
  dollars,
  payTopUp,
  readAccess,
  type SandboxAccess,
  startSandboxService,
  until,
} from './sandbox-service.js';
import { FREE_MODEL, makeImages, PAID_MODEL, planCalls } from './seed-images.js';

const SETTLED_WITHIN_MS = 20_000;
const SIMULATED = ['stripe', 'black-forest-labs'];
const SCOPES = ['generate', 'wallet:read', 'wallet:write', 'keys:write', 'cards:charge'];
/** Stripe's test number of a card whose owner disputes what it pays. */
const DISPUTING_CARD = '4000000000000259';
/** Of the words about automatic charges, which the customer agrees to (`GET /v1/auto_top_up`). */
const WORDS_VERSION = '2026-11-22';
/** What a minute lets one account call of free models (`RATE_LIMIT_POLICIES`). */
const FREE_CALLS = 6;

/** The secrets of keys are shown once; `seed.json` keeps them, as `demo.json` does, for its owner's eyes only. */
type Customer = {
  readonly name: string;
  readonly account_id: string;
  readonly api_keys: Record<string, string>;
  complete: boolean;
};
type SeedFile = { base_url: string; readonly customers: Record<string, Customer> };

class Seed {
  private constructor(
    readonly access: SandboxAccess,
    private readonly path: string,
    private readonly file: SeedFile,
  ) {}

  static async open(access: SandboxAccess, dataDir: string): Promise<Seed> {
    const path = join(dataDir, 'seed.json');
    const stored = (await readPrivateJson(path)) as SeedFile | null;
    return new Seed(access, path, { base_url: access.base_url, customers: stored?.customers ?? {} });
  }

  /** Plays the history of one customer, unless it is complete. */
  async play(role: string, name: string, history: (customer: Customer) => Promise<void>): Promise<void> {
    const customer = await this.customer(role, name);
    if (customer.complete) {
      say(`${name}: is there already`);
      return;
    }
    await history(customer);
    customer.complete = true;
    await this.save();
    const wallet = await this.call(customer.api_keys['main'], 'GET', '/v1/wallet');
    say(`${name}: complete, ${dollars(wallet['available_micros'])} available`);
  }

  private async customer(role: string, name: string): Promise<Customer> {
    const known = this.file.customers[role];
    if (known !== undefined && (await this.isOfThisDatabase(known))) return known;
    const { id = '' } = await this.operator('POST', '/v1/accounts', { name });
    const customer: Customer = { name, account_id: id, api_keys: {}, complete: false };
    this.file.customers[role] = customer;
    await this.key(customer, 'main');
    return customer;
  }

  /** The file may be older than the database, or of another one. */
  private isOfThisDatabase({ account_id }: Customer): Promise<boolean> {
    return this.operator('GET', `/v1/accounts/${account_id}`).then(
      () => true,
      () => false,
    );
  }

  /** The customer's key of that name, made at first use. */
  async key(customer: Customer, name: string, spendLimits: object | null = null): Promise<string> {
    const known = customer.api_keys[name];
    if (known !== undefined) return known;
    const made = await this.operator('POST', `/v1/accounts/${customer.account_id}/api_keys`, {
      name,
      scopes: SCOPES,
      spend_limits: spendLimits,
    });
    const secret = made['secret'] ?? '';
    customer.api_keys[name] = secret;
    await this.save();
    return secret;
  }

  operator(method: string, path: string, body?: object): Promise<Answer> {
    return this.call(this.access.operator_key, method, path, body);
  }

  call(
    key: string | undefined,
    method: string,
    path: string,
    body?: object,
    idempotencyKey?: string,
  ): Promise<Answer> {
    return callApi(this.access.base_url, key ?? '', {
      method,
      path,
      ...(body === undefined ? {} : { body }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    });
  }

  /** Buys and pays. */
  async topUp(key: string, name: string, order: object, card?: string): Promise<string> {
    const topUp = await this.call(key, 'POST', '/v1/top_ups', order, `seed-${name}`);
    if (topUp['status'] === 'pending') await payTopUp(this.access.base_url, key, topUp, card);
    return topUp['id'] ?? '';
  }

  private save = (): Promise<void> => writePrivateJson(this.path, this.file);
}

async function playFreeCustomer(seed: Seed, { api_keys }: Customer): Promise<void> {
  const key = api_keys['main'] ?? '';
  const calls = planCalls({ key, model: FREE_MODEL, prefix: 'free', count: FREE_CALLS, n: 4 });
  await makeImages(seed.access.base_url, calls);
}

async function playWalletCustomer(seed: Seed, customer: Customer): Promise<void> {
  const main = await seed.key(customer, 'main');
  await seed.topUp(main, 'first', { credit_cents: 2_000, save_card: true });
  await seed.topUp(main, 'second', { credit_cents: 1_500 });
  const regretted = await seed.topUp(main, 'regretted', { credit_cents: 500 });
  const refund = { credit_cents: 300, reason: 'bought too much' };
  await seed.call(main, 'POST', `/v1/top_ups/${regretted}/refund`, refund, 'seed-refund');
  await seed.topUp(main, 'disputed', { credit_cents: 500 }, DISPUTING_CARD);
  await winDispute(seed, customer, main);
  say(`${customer.name}: four top-ups, a refund, a dispute that was won`);
  await seed.call(main, 'PUT', '/v1/auto_top_up', {
    enabled: true,
    threshold_micros: '10000000',
    credit_cents: 2_000,
    daily_max_charge_cents: 6_300,
    monthly_max_charge_cents: 30_000,
    words_version: WORDS_VERSION,
  });
  const website = await seed.key(customer, 'website', { day_micros: '2000000', month_micros: '20000000' });
  const batch = await seed.key(customer, 'batch', { total_micros: '20000000' });
  await makeImages(seed.access.base_url, [
    ...planCalls({ key: main, model: PAID_MODEL, prefix: 'main', count: 540 }),
    ...planCalls({ key: website, model: PAID_MODEL, prefix: 'website', count: 40 }),
    ...planCalls({ key: batch, model: PAID_MODEL, prefix: 'batch', count: 360 }),
    ...planCalls({ key: main, model: FREE_MODEL, prefix: 'try-out', count: FREE_CALLS }),
  ]);
  await until('the automatic top-up is paid', SETTLED_WITHIN_MS, async () => {
    const { data } = await seed.call(main, 'GET', '/v1/top_ups');
    return data.find(({ kind, status }) => kind === 'auto' && status === 'paid') ?? null;
  });
}

/** The card's owner disputes the payment, the wallet is frozen, Stripe decides for us, and the wallet is free again. */
async function winDispute(seed: Seed, { account_id }: Customer, key: string): Promise<void> {
  const dispute = await until('the payment is disputed', SETTLED_WITHIN_MS, async () => {
    const { data } = await seed.operator('GET', `/v1/accounts/${account_id}/disputes`);
    return data[0] ?? null;
  });
  if (dispute['status'] !== 'won') {
    const url = `${seed.access.stripe_api_base}/_sandbox/disputes/${dispute['id']}/move`;
    const moved = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ status: 'won' }),
    });
    if (!moved.ok) throw new Error(`the dispute was not decided: ${moved.status} ${await moved.text()}`);
  }
  await until('the wallet is active again', SETTLED_WITHIN_MS, async () => {
    const wallet = await seed.call(key, 'GET', '/v1/wallet');
    return wallet['status'] === 'active' ? wallet : null;
  });
}

async function playByokCustomer(seed: Seed, { api_keys }: Customer): Promise<void> {
  const key = api_keys['main'] ?? '';
  // The simulator takes any key that does not say that it is invalid.
  await seed.call(key, 'PUT', '/v1/provider_keys/black_forest_labs', { key: 'bfl_seeded_customers_own_key' });
  const calls = planCalls({ key, model: PAID_MODEL, prefix: 'byok', count: 60 });
  await makeImages(seed.access.base_url, calls);
}

const startedAt = performance.now();
function say(what: string): void {
  console.log(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(5)} s  ${what}`);
}

/** The service that runs on the directory; null when none answers. */
async function findRunningService(dataDir: string): Promise<SandboxAccess | null> {
  const access = await readAccess(dataDir);
  if (access === null) return null;
  const path = `/v1/accounts/${access.account_id}`;
  return callApi(access.base_url, access.operator_key, { method: 'GET', path }).then(
    () => access,
    () => null,
  );
}

/** Money that is not play money is never moved by a seed. */
async function refuseRealParts({ base_url }: SandboxAccess): Promise<void> {
  const { headers } = await fetch(`${base_url}/health/live`);
  const simulated = (headers.get('x-coffer-sandbox') ?? '').split(', ');
  const real = SIMULATED.filter((name) => !simulated.includes(name));
  if (real.length > 0)
    throw new Error(`${real.join(' and ')} of this service is not simulated; nothing was made`);
}

async function main(): Promise<void> {
  const { dataDir } = loadDatabaseLocation();
  const running = await findRunningService(dataDir);
  const { access, stop } =
    running === null
      ? await startSandboxService(dataDir, process.env)
      : { access: running, stop: () => Promise.resolve() };
  try {
    await refuseRealParts(access);
    say(`${running === null ? 'started a service for this seed' : 'joined the service'}: ${access.base_url}`);
    const seed = await Seed.open(access, dataDir);
    await seed.play('free', 'Pocket Sketchbook', (customer) => playFreeCustomer(seed, customer));
    await seed.play('wallet', 'Willow Studio', (customer) => playWalletCustomer(seed, customer));
    await seed.play('byok', 'Northern Prints', (customer) => playByokCustomer(seed, customer));
  } finally {
    await stop();
  }
  say(`Keys of these customers: ${resolve(dataDir, 'seed.json')}`);
}

main().catch((error: unknown) => {
  console.error(`\nThe seed stopped: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
