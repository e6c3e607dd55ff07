import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectBooksToBalance } from '../fixtures/books.js';
import { checkProperty } from '../support/property.js';
import {
  newUsageCustomers,
  rollUp,
  startUsageServices,
  USAGE_EVENTS,
  type UsageEvent,
  type UsageServices,
} from '../support/images/usage-events.js';
import { expectUsageToEqualLedger, usageOf } from '../support/images/usage.js';

let services: UsageServices;
beforeAll(async () => {
  services = await startUsageServices();
});
afterAll(async () => {
  const { service, other } = services;
  try {
    await expectBooksToBalance(service.dataSource);
  } finally {
    await Promise.all([service.close(), other.close()]);
  }
});
afterEach(() => {
  for (const { clock } of [services.service, services.other]) clock.reset();
});

describe('usage', () => {
  it('adds up to the ledger, day by day, whatever was called, debited, added up, repeated or cut short', async () => {
    const events = fc.array(fc.constantFrom(...(Object.keys(USAGE_EVENTS) as UsageEvent[])), {
      minLength: 4,
      maxLength: 14,
    });
    await checkProperty(
      'usage equals the ledger',
      fc.asyncProperty(events, async (names) => {
        const { service } = services;
        const customers = await newUsageCustomers(services);
        for (const name of names) await USAGE_EVENTS[name].run(customers);
        await expectUsageToEqualLedger(service, customers.paying);
        await expectUsageToEqualLedger(service, customers.keyed);
        const usages = await Promise.all([usageOf(customers.paying), usageOf(customers.keyed)]);
        const sum = (what: 'calls' | 'images'): number =>
          usages.reduce((total, { totals }) => total + totals[what], 0);
        const expected = (what: 'calls' | 'images'): number =>
          names.reduce((total, name) => total + USAGE_EVENTS[name][what], 0);
        expect([sum('calls'), sum('images')]).toEqual([expected('calls'), expected('images')]);
        await rollUp(service);
        await expectUsageToEqualLedger(service, customers.paying);
        const after = await Promise.all([usageOf(customers.paying), usageOf(customers.keyed)]);
        expect(after.map(({ totals, data }) => ({ totals, data }))).toEqual(
          usages.map(({ totals, data }) => ({ totals, data })),
        );
      }),
      { runs: 12 },
    );
  });
});
