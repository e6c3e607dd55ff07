import { describe, expect, it } from '@jest/globals';
import type { AccountBooks, GenerationRow, HoldRow, PriceRow } from '../support/mixed-calls/books.js';
import type { Deeds } from '../support/mixed-calls/bystanders.js';
import type { Sighting } from '../support/mixed-calls/clients.js';
import { judgeAccount } from '../support/mixed-calls/judge.js';
import type { MixedPlan } from '../support/mixed-calls/plan.js';

const ACCOUNT = 'acct_1';
const REMOVAL = { sentAtMs: 10_000, answeredAtMs: 10_100, holdIdsBefore: ['hold_early'] };

type JudgedCall = {
  readonly row?: Partial<GenerationRow>;
  /** When each request was sent and ended; the last one was answered with the generation. */
  readonly requests: readonly (readonly [number, number])[];
  readonly prices?: readonly PriceRow[];
  readonly holds?: readonly HoldRow[];
};

/** What the judge says of one call of an account whose provider key was removed at `REMOVAL`. */
function judge({ row, requests, prices = [price('price_1', 0)], holds = [] }: JudgedCall): readonly string[] {
  const call = { name: 'call', account: 0, key: 0, images: 1, sends: [], again: null };
  const account = { kind: 'byok_removed', grantMicros: 0n, keys: [] };
  const plan = { accounts: [account], calls: [call], events: [] } as unknown as MixedPlan;
  const cast = { ...account, id: ACCOUNT, secrets: [], providerKey: 'own' } as never;
  const sightings = requests.map(([atMs, endedAtMs], index): Sighting => {
    const answer = {
      status: 200,
      code: null,
      generationId: 'gen_1',
      chargedMicros: 0n,
      billingMode: 'byok',
      fellBackFrom: null,
      isReplay: false,
      isPending: false,
      digest: '',
      pictures: [],
    };
    const isLast = index === requests.length - 1;
    return { call: 0, atMs, endedAtMs, answer: isLast ? answer : null, hungUp: !isLast };
  });
  const deeds = {
    grantedMicros: new Map(),
    frozen: [],
    revokedAtMs: new Map(),
    providerKeyRemovals: new Map([[ACCOUNT, REMOVAL]]),
    voidedHolds: new Map(),
    priceChangedAtMs: null,
  } as Deeds;
  const generation = { ...GENERATION, ...row };
  const books: AccountBooks = {
    generations: [generation],
    tasks: [],
    holds,
    transfers: [],
    posted: 0n,
    held: 0n,
  };
  return judgeAccount(plan, 0, cast, { sightings, books, deeds, prices });
}

const GENERATION: GenerationRow = {
  id: 'gen_1',
  name: 'call',
  keyId: 'key_1',
  model: 'flux',
  status: 'failed',
  requested: 1,
  delivered: 0,
  format: 'png',
  priceId: 'price_1',
  price: 5n,
  charged: 0n,
  holdId: null,
  providerKeyId: 'pk_1',
  fellBackFrom: null,
  errorCode: null,
  idempotencyKey: null,
  createdAtMs: 0,
};

function price(id: string, effectiveFromMs: number): PriceRow {
  return { id, model: 'flux', amount: 5n, effectiveFromMs };
}

const about = (faults: readonly string[], what: string): readonly string[] =>
  faults.filter((fault) => fault.includes(what));

describe('the judge of mixed calls', () => {
  const paid = { providerKeyId: null } as const;

  it('names a call that was paid and answered while a provider key was attached', () => {
    const wanted = 'was paid, with a key there';
    expect(about(judge({ row: paid, requests: [[9_000, 9_900]] }), wanted)).toHaveLength(1);
    expect(about(judge({ row: paid, requests: [[9_000, 10_050]] }), wanted)).toEqual([]);
  });

  it('names a hold that the database had before the removal was sent', () => {
    const hold = (id: string): HoldRow => ({
      id,
      reference: 'generation:gen_1',
      keyId: null,
      status: 'voided',
      amount: 5n,
      captured: 0n,
      createdAtMs: 0,
      resolvedAtMs: 0,
    });
    const wanted = 'was authorized while a provider key was attached';
    const requests = [[9_000, 10_050]] as const;
    expect(about(judge({ row: paid, requests, holds: [hold('hold_early')] }), wanted)).toHaveLength(1);
    expect(about(judge({ row: paid, requests, holds: [hold('hold_late')] }), wanted)).toEqual([]);
  });

  it('names a call over a removed key, all of whose requests were sent after the removal was answered', () => {
    const wanted = 'was asked for after its key had been removed';
    expect(about(judge({ requests: [[10_200, 10_300]] }), wanted)).toHaveLength(1);
    expect(
      about(
        judge({
          requests: [
            [10_050, 10_150],
            [10_200, 10_300],
          ],
        }),
        wanted,
      ),
    ).toEqual([]);
  });

  it('names a call that began long after the removal, whenever it was sent', () => {
    const row = { createdAtMs: 15_200 };
    expect(about(judge({ row, requests: [[9_000, 16_000]] }), 'went over a key')).toHaveLength(1);
  });

  it('names a price that a client read before it took effect', () => {
    const row = { priceId: 'price_2' };
    const prices = [price('price_1', 0), price('price_2', 5_000)];
    const wanted = 'has a price to come';
    expect(about(judge({ row, prices, requests: [[4_000, 4_700]] }), wanted)).toHaveLength(1);
    expect(about(judge({ row, prices, requests: [[4_000, 5_000]] }), wanted)).toEqual([]);
    expect(about(judge({ prices, requests: [[4_000, 4_700]] }), wanted)).toEqual([]);
  });

  it('names a price that was over long before any request was sent', () => {
    const prices = [price('price_1', 0), price('price_2', 5_000)];
    const wanted = 'has a price that was over';
    expect(about(judge({ prices, requests: [[15_001, 15_100]] }), wanted)).toHaveLength(1);
    expect(about(judge({ prices, requests: [[14_900, 16_000]] }), wanted)).toEqual([]);
    expect(
      about(judge({ row: { priceId: 'price_2' }, prices, requests: [[15_001, 15_100]] }), wanted),
    ).toEqual([]);
  });

  it('names a price that no one published', () => {
    expect(about(judge({ row: { priceId: 'price_9' }, requests: [[1, 2]] }), 'a price to come')).toHaveLength(
      1,
    );
  });
});
