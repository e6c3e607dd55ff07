import { expect, jest } from '@jest/globals';
import { ModelUsageService } from '../../../src/gateway/catalog/ranking/model-usage.service.js';
import { newId } from '../../../src/platform/common/ids.js';
import { USAGE_LIMITS, type UsageLimits } from '../../../src/gateway/usage/usage-limits.js';
import { UsageRollUpService } from '../../../src/gateway/usage/usage-roll-up.service.js';
import { generate, MODEL } from '../../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../app/test-app.js';
import { attach, makeProviderKey } from './provider-keys.js';

export const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';
const DAY_MS = 86_400_000;
/** Small batches, so that every test needs several. */
const SMALL_BATCHES = { accountsPerBatch: 3, transfersPerAccount: 3, transfersPerBatch: 4, callsPerBatch: 2 };

/** Two processes over one database. */
export type UsageServices = { readonly service: TestApp; readonly other: TestApp };
export type UsageCustomers = UsageServices & { readonly paying: TestCustomer; readonly keyed: TestCustomer };
export type UsageEvent = keyof typeof USAGE_EVENTS;

export async function startUsageServices(): Promise<UsageServices> {
  const service = await startTestApp({ blackForestLabs: true, settings: { rateLimit: false } });
  const other = await startTestApp({ databaseUrl: service.databaseUrl });
  for (const { app } of [service, other]) Object.assign(app.get<UsageLimits>(USAGE_LIMITS), SMALL_BATCHES);
  return { service, other };
}

export async function newUsageCustomers(services: UsageServices): Promise<UsageCustomers> {
  const { service } = services;
  // Two lots: a charge across their border is two transfers.
  const paying = await service.createCustomer({ grantMicros: 130_000n });
  const more = { amount_micros: '9000000', reason: 'a second lot' };
  (await service.operator.post(`/v1/accounts/${paying.accountId}/grants`, more)).expect(201);
  const keyed = await service.createCustomer();
  await attach(keyed, makeProviderKey(service));
  return { ...services, paying, keyed };
}

export const rollUp = ({ app }: TestApp): Promise<void> => app.get(UsageRollUpService).catchUp();

const debit = ({ service, paying }: UsageCustomers, charge: object) =>
  service.operator.post('/v1/debits', {
    account: paying.accountId,
    reference: newId('request'),
    ...charge,
  });

async function holdAndCapture(of: UsageCustomers, images: number, delivered: number): Promise<void> {
  const { operator } = of.service;
  const reserved = { model: MODEL, images, expires_in_seconds: 600 };
  const hold = { account: of.paying.accountId, reference: newId('request'), ...reserved };
  const { body } = (await operator.post('/v1/holds', hold)).expect(201);
  (await operator.post(`/v1/holds/${body.id}/capture`, { images: delivered })).expect(200);
}

/** The statement that counts has run, and its tx ends without a commit, as when the process dies. */
async function dieWhileAddingUp(service: TestApp): Promise<void> {
  const add = jest.spyOn(service.app.get(ModelUsageService), 'add').mockRejectedValue(new Error('killed'));
  try {
    await rollUp(service).catch((error: unknown) => expect(String(error)).toContain('killed'));
  } finally {
    add.mockRestore();
  }
}

/** Everything that a call can come to, with what it adds to the counts. */
export const USAGE_EVENTS = {
  paid: { calls: 1, images: 1, run: (of: UsageCustomers) => generate(of.paying) },
  'paid, tagged': {
    calls: 1,
    images: 3,
    run: (of: UsageCustomers) => generate(of.paying, { n: 3 }, { 'x-coffer-tag': 'spring' }),
  },
  'paid, for a user': {
    calls: 1,
    images: 2,
    run: (of: UsageCustomers) => generate(of.paying, { n: 2, user: 'user-7' }),
  },
  failed: {
    calls: 1,
    images: 0,
    run: (of: UsageCustomers) => generate(of.paying, { prompt: '[sandbox:error]' }),
  },
  moderated: {
    calls: 1,
    images: 0,
    run: (of: UsageCustomers) => generate(of.paying, { prompt: '[sandbox:moderated]' }),
  },
  free: { calls: 1, images: 1, run: (of: UsageCustomers) => generate(of.paying, { model: FREE_MODEL }) },
  byok: { calls: 1, images: 1, run: (of: UsageCustomers) => generate(of.keyed) },
  'debit of images': {
    calls: 1,
    images: 2,
    run: (of: UsageCustomers) => debit(of, { model: MODEL, images: 2 }),
  },
  'debit of an amount': {
    calls: 1,
    images: 0,
    run: (of: UsageCustomers) => debit(of, { amount_micros: '12345', description: 'a font' }),
  },
  'captured hold': { calls: 1, images: 2, run: (of: UsageCustomers) => holdAndCapture(of, 5, 2) },
  'rolled up': { calls: 0, images: 0, run: (of: UsageCustomers) => rollUp(of.service) },
  'rolled up by several at once': {
    calls: 0,
    images: 0,
    run: ({ service, other }: UsageCustomers) => Promise.all([service, other, service, other].map(rollUp)),
  },
  'rolled up, and killed before the commit': {
    calls: 0,
    images: 0,
    run: (of: UsageCustomers) => dieWhileAddingUp(of.service),
  },
  'the next day': {
    calls: 0,
    images: 0,
    run: (of: UsageCustomers) => Promise.resolve(of.service.clock.letPass(DAY_MS)),
  },
} as const;
