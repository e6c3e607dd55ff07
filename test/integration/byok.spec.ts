import 'reflect-metadata';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { ByokCalls } from '../../src/gateway/images/calls/byok-calls.service.js';
import { WalletFundedCalls } from '../../src/gateway/images/calls/wallet-funded-calls.service.js';
import type { Payments } from '../../src/gateway/images/calls/payment/payments.service.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp } from '../support/app/test-app.js';

const ROOT = fileURLToPath(new URL('../../src/', import.meta.url));
/** Where a call over a customer's own key begins, and everything that keeps such keys. */
const STARTS = [
  'gateway/images/calls/byok-calls.service.ts',
  ...readdirSync(path.join(ROOT, 'gateway/provider-keys'), { recursive: true, encoding: 'utf8' })
    .map((file) => `gateway/provider-keys/${file.split(path.sep).join('/')}`)
    .filter((file) => file.endsWith('.ts')),
];
/** What moves money, and what brings others there. */
const MONEY =
  /^(money\/(wallets|ledger|debits|spend-limits)|payments)\/|^gateway\/images\/calls\/payment\/(payments\.service|wallet-payment)\.ts$/;

/** Every file that is reached from these by imports of any kind, types included; each with the one that led there. */
function reachedFrom(files: readonly string[]): Map<string, string> {
  const reached = new Map(files.map((file) => [file, 'start']));
  const queue = [...files];
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const text = readFileSync(path.join(ROOT, file), 'utf8');
    for (const [, from] of text.matchAll(/(?:\bfrom|\bimport\(?)\s*['"](\.[^'"]+)['"]/g)) {
      const target = path.posix.join(path.posix.dirname(file), from ?? '').replace(/\.js$/, '.ts');
      if (reached.has(target)) continue;
      reached.set(target, file);
      queue.push(target);
    }
  }
  return reached;
}

describe('promise 6: there is no code path from a BYOK call to a debit', () => {
  it('in the imports: nothing that such a call loads, directly or not, can reach a wallet', () => {
    const reached = reachedFrom(STARTS);
    expect([...reached].filter(([file]) => MONEY.test(file))).toEqual([]);
    // The whole way of a call is in it, so an empty list above says something.
    for (const file of [
      'generation.service.ts',
      'image-maker.service.ts',
      'records/generation-records.service.ts',
    ]) {
      expect([...reached.keys()]).toContain(`gateway/images/calls/${file}`);
    }
  });

  it('and this search finds the way that a paid call has', () => {
    const reached = [...reachedFrom(['gateway/images/calls/wallet-funded-calls.service.ts']).keys()];
    expect(reached).toContain('money/wallets/wallet-engine.ts');
    expect(reached).toContain('gateway/images/calls/payment/wallet-payment.ts');
  });

  it('in one place only is a payment from a wallet made, and it takes no call over a customer’s own key', () => {
    const makers = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .filter((file) => readFileSync(path.join(ROOT, file), 'utf8').includes('new WalletPayment('));
    expect(makers.map((file) => file.split(path.sep).join('/'))).toEqual([
      'gateway/images/calls/payment/payments.service.ts',
    ]);
    const byok = { providerKeyId: 'pk_x', holdId: null } as const;
    // @ts-expect-error -- the line below would not compile: `npm run typecheck` fails if it ever does
    const wouldNotCompile = (payments: Payments) => payments.paymentFor(byok, 'x');
    expect(wouldNotCompile).toBeInstanceOf(Function);
  });
});

describe('promise 6, in the running service', () => {
  let service: TestApp;
  beforeAll(async () => {
    service = await sharedApp();
  });

  /** Every object that can be reached from this one, by its own properties, maps, sets and arrays. */
  function objectsFrom(start: object): Set<object> {
    const seen = new Set<object>([start]);
    const queue: object[] = [start];
    for (let object = queue.pop(); object !== undefined; object = queue.pop()) {
      const values: unknown[] = Object.values(Object.getOwnPropertyDescriptors(object)).map(
        ({ value }) => value as unknown,
      );
      if (object instanceof Map) values.push(...object.keys(), ...object.values());
      if (object instanceof Set) values.push(...object);
      for (const value of values) {
        if (typeof value !== 'object' || value === null || seen.has(value)) continue;
        seen.add(value);
        queue.push(value);
      }
    }
    return seen;
  }

  it('no object that a BYOK call holds on to leads to the engine', () => {
    const engine = service.app.get(WalletEngine, { strict: false });
    const reached = objectsFrom(service.app.get(ByokCalls, { strict: false }));
    expect(reached.has(engine)).toBe(false);
    expect(reached.size).toBeGreaterThan(100);
    expect(objectsFrom(service.app.get(WalletFundedCalls, { strict: false })).has(engine)).toBe(true);
  });

  it.each([
    ['a charge', `status = 'succeeded', images_delivered = 1, charged_micros = 40000, finished_at = now()`],
    ['a hold', `hold_id = 'hold_x'`],
  ])('the database refuses a BYOK receipt with %s', async (_what, change) => {
    const customer = await service.createCustomer();
    await service.dataSource.query(
      `INSERT INTO provider_keys (account_id, id, provider, last_four, fall_back_to_wallet, ciphertext, wrapped_key,
                                  master_key_id, created_at, attached_by)
       VALUES ($1, 'pk_x', 'black_forest_labs', 'abcd', false, '\\x00', '\\x00', 'test', now(), 'test')`,
      [customer.accountId],
    );
    await service.dataSource.query(
      `INSERT INTO generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested,
                                width, height, response_format, output_format, fingerprint, media_key_id, status,
                                lease_expires_at, created_at, provider_key_id)
       SELECT $1, 'gen_x', 'key', 'req', model, id, amount_micros, 1, 64, 64, 'url', 'png', 'f', 'm', 'running', now(), now(),
              'pk_x' FROM prices WHERE amount_micros > 0 LIMIT 1`,
      [customer.accountId],
    );
    const update = service.dataSource.query(`UPDATE generations SET ${change} WHERE account_id = $1`, [
      customer.accountId,
    ]);
    await expect(update).rejects.toThrow(/generations_(charged_as_delivered|paid_or_free)/);
  });
});
