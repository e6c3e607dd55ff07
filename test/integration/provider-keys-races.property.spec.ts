import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, generate, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import { attach, makeProviderKey, PROVIDER } from '../support/images/provider-keys.js';
import type { TestApp } from '../support/app/test-app.js';
import { casesFor } from '../support/property.js';
import { seededRandom } from '../support/seeded-random.js';

const CUSTOMERS = 2;
const CALLERS = 3;
/** Of each customer: 12 attachments and 12 removals, which even one process takes from one API key in a minute. */
const CHANGES = 12;
const CREDIT_MICROS = 1_000_000_000n;

/** From one step of the test until another. Steps are counted in the one process that sends all requests, so no clock is compared. */
type Period = { readonly from: number; readonly until: number };
type Call = Period & { readonly mode: string | null };

let app: SharedApp;
let twin: TestApp;
let owner: Client;

/**
 * Makes the commit of a provider key, and that of a hold, take up to 20 ms after everything else is decided. Where a change and a
 * call overlap, their commits then occur in either order.
 */
const SLOW_COMMITS = `
  CREATE FUNCTION test_slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(random() * 0.02); RETURN NULL; END $$;
  CREATE CONSTRAINT TRIGGER test_slow_commit AFTER INSERT OR UPDATE ON provider_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_slow_commit();
  CREATE CONSTRAINT TRIGGER test_slow_commit AFTER INSERT ON holds
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_slow_commit()`;

beforeAll(async () => {
  [app, twin] = [await sharedApp(), await sharedTwin()];
  owner = new Client({ connectionString: app.databaseUrl });
  await owner.connect();
  await owner.query(SLOW_COMMITS);
});
afterAll(async () => {
  await owner.query('DROP FUNCTION test_slow_commit CASCADE');
  await owner.end();
  await expectBooksToBalance(app.dataSource);
});

describe('calls that run while provider keys are attached and removed through two processes', () => {
  it('are paid by the wallet never while a key is known to be attached, and over a key never while none is', async () => {
    const random = seededRandom('provider keys race with calls');
    let step = 0;

    async function race(): Promise<void> {
      const { apiKey, client } = await aCustomer().withCredit('1000.00').create();
      const clients = [client, twin.client(apiKey)] as const;
      /** From the answer to the attachment until the removal is sent. */
      const attached: Period[] = [];
      /** From the answer to the removal until the next attachment is sent. */
      const missing: Period[] = [];
      const calls: Call[] = [];
      let isOver = false;

      const change = async (): Promise<void> => {
        let removed = 0;
        for (let count = 0; count < CHANGES; count += 1) {
          const attachSent = step++;
          await attach({ client: random.pick(clients) }, makeProviderKey(app));
          missing.push({ from: removed, until: attachSent });
          const attachAnswered = step++;
          await callOnce();
          const removalSent = step++;
          attached.push({ from: attachAnswered, until: removalSent });
          (await random.pick(clients).delete(`/v1/provider_keys/${PROVIDER}`)).expect(200);
          removed = step++;
          await callOnce();
        }
        isOver = true;
      };
      const callOnce = async (): Promise<void> => {
        const from = step++;
        const answer = (await generate({ client: random.pick(clients) })).expect(200);
        calls.push({ from, until: step++, mode: answer.headers.get('x-billing-mode') });
      };
      const call = async (): Promise<void> => {
        while (!isOver) await callOnce();
      };
      await Promise.all([change(), ...Array.from({ length: CALLERS }, call)]);

      const isWithin = (one: Period) => (other: Period) => other.from < one.from && one.until < other.until;
      const sure = { byok: 0, wallet: 0 };
      for (const made of calls) {
        if (attached.some(isWithin(made))) sure.byok += 1;
        if (missing.some(isWithin(made))) sure.wallet += 1;
      }
      expect(calls.filter(({ mode }) => mode !== 'byok' && mode !== 'wallet')).toEqual([]);
      expect(calls.filter((made) => made.mode === 'wallet' && attached.some(isWithin(made)))).toEqual([]);
      expect(calls.filter((made) => made.mode === 'byok' && missing.some(isWithin(made)))).toEqual([]);
      // The changer's own calls are never concurrent with a change, so at least these have only one right answer.
      expect(sure.byok).toBeGreaterThanOrEqual(CHANGES);
      expect(sure.wallet).toBeGreaterThanOrEqual(CHANGES - 1);
      const paid = BigInt(calls.filter(({ mode }) => mode === 'wallet').length) * PRICE_MICROS;
      expect((await balancesOf({ client })).posted).toBe(CREDIT_MICROS - paid);
    }
    for (let round = 0; round < casesFor(2); round += 1) {
      await Promise.all(Array.from({ length: CUSTOMERS }, race));
    }
  });
});
