import 'reflect-metadata';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { FreeFundingService } from '../../src/gateway/images/calls/funding/free-funding.service.js';
import { ProviderKeyFundingService } from '../../src/gateway/images/calls/funding/provider-key-funding.service.js';
import { WalletFundingService } from '../../src/gateway/images/calls/funding/funding.service.js';
import { ImageMakerService } from '../../src/gateway/images/calls/image-maker.service.js';
import type { Generation } from '../../src/gateway/images/calls/records/generation.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp } from '../support/app/test-app.js';

const ROOT = fileURLToPath(new URL('../../src/', import.meta.url));
/** What pays for a BYOK call, makes its images and records it, and everything that keeps provider keys. */
const STARTS = [
  'gateway/images/calls/funding/provider-key-funding.service.ts',
  'gateway/images/calls/image-maker.service.ts',
  'gateway/images/calls/idempotency.service.ts',
  'gateway/images/calls/running-generations.service.ts',
  ...readdirSync(path.join(ROOT, 'gateway/provider-keys'), { recursive: true, encoding: 'utf8' })
    .map((file) => `gateway/provider-keys/${file.split(path.sep).join('/')}`)
    .filter((file) => file.endsWith('.ts')),
];
/** What moves money, and what brings others there. */
const MONEY =
  /^(money\/(wallets|ledger|debits|spend-limits)|payments)\/|^gateway\/images\/calls\/funding\/funding\.service\.ts$/;

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
  it('in the imports: nothing that pays for such a call or makes it, directly or not, can reach a wallet', () => {
    const reached = reachedFrom(STARTS);
    expect([...reached].filter(([file]) => MONEY.test(file))).toEqual([]);
    // Everything that such a call needs is in it, so an empty list above says something.
    for (const file of [
      'idempotency.service.ts',
      'image-maker.service.ts',
      'records/generation-records.service.ts',
    ]) {
      expect([...reached.keys()]).toContain(`gateway/images/calls/${file}`);
    }
  });

  it('and this search finds how a wallet is reached', () => {
    const reached = [...reachedFrom(['gateway/images/calls/funding/funding.service.ts']).keys()];
    expect(reached).toContain('money/wallets/wallet-engine.ts');
  });

  it('the call itself reaches money only by the funding that was chosen for it', () => {
    const text = readFileSync(path.join(ROOT, 'gateway/images/calls/image-calls.service.ts'), 'utf8');
    const money = [...text.matchAll(/from '([^']*\/money\/(?:wallets|ledger|debits|spend-limits)\/[^']+)'/g)];
    expect(money.map(([, from]) => from)).toEqual(['../../../money/wallets/wallet.errors.js']);
    expect(text).not.toMatch(/wallet-funding|WalletFunding|WalletEngine/);
  });

  it('in one place only is the wallet chosen, and it pays for no call of a provider key', async () => {
    const choosers = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .filter((file) => readFileSync(path.join(ROOT, file), 'utf8').includes(': WalletFunding'));
    expect(choosers.map((file) => file.split(path.sep).join('/'))).toEqual([
      'gateway/images/calls/funding/funding.service.ts',
    ]);
    const byok = { id: 'gen_x', providerKeyId: 'pk_x', holdId: null } as Generation;
    // @ts-expect-error -- the line below would not compile: `npm run typecheck` fails if it ever does
    const wouldNotCompile = (wallet: WalletFundingService) => wallet.capture(byok, 1, 'x');
    // An engine that is touched would throw another error.
    await expect(wouldNotCompile(new WalletFundingService(null as never))).rejects.toThrow(
      'the wallet does not pay for gen_x',
    );
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

  it.each([ProviderKeyFundingService, FreeFundingService, ImageMakerService])(
    'no object that %p holds leads to the engine',
    (Part) => {
      const engine = service.app.get(WalletEngine, { strict: false });
      const reached = objectsFrom(service.app.get<object>(Part, { strict: false }));
      expect(reached.has(engine)).toBe(false);
      expect(reached.size).toBeGreaterThan(100);
      expect(objectsFrom(service.app.get(WalletFundingService, { strict: false })).has(engine)).toBe(true);
    },
  );

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
