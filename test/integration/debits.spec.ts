import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { toHoldReference } from '../../src/gateway/images/calls/records/generation.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp } from '../support/app/test-app.js';

type BatchEntry = {
  readonly object: string;
  readonly reference: string;
  readonly replayed: boolean;
  readonly status: number;
  readonly error: { readonly code: string };
};

const MODEL = 'black-forest-labs/flux-2-klein-9b';

describe('debits and holds for an outside gateway', () => {
  let app: TestApp;
  let second: TestApp;

  beforeAll(async () => {
    app = await sharedApp();
    second = await sharedTwin();
  });

  afterAll(() => expectBooksToBalance(app.dataSource));

  const accountWith = async (grantMicros: bigint): Promise<string> =>
    (await app.createCustomer({ grantMicros })).accountId;

  async function wallet(account: string): Promise<Record<string, unknown>> {
    return (await app.operator.get(`/v1/accounts/${account}/wallet`)).expect(200).body;
  }

  async function rowCount(account: string): Promise<number> {
    const rows = await app.dataSource.query<{ count: number }[]>(
      'SELECT count(*)::int AS count FROM transfers WHERE account_id = $1',
      [account],
    );
    return rows[0]?.count ?? 0;
  }

  it('charges an image at the price of the book and stores the price version on the ledger row', async () => {
    const account = await accountWith(100_000n);
    const answer = await app.operator.post('/v1/debits', {
      account,
      reference: 'first',
      model: MODEL,
      images: 2,
    });
    expect(answer.expect(201).body).toMatchObject({
      object: 'debit',
      account,
      reference: 'first',
      amount_micros: '80000',
      model: MODEL,
      images: 2,
      replayed: false,
      available_micros: '20000',
      held_micros: '0',
      posted_micros: '20000',
    });
    expect(answer.body.price).toMatch(/^price_/);
    const list = await app.operator.get(`/v1/accounts/${account}/transactions`);
    expect(list.body.data[0]).toMatchObject({
      id: answer.body.id,
      kind: 'debit',
      amount_micros: '-80000',
      reference: 'debit:first',
      memo: `${MODEL} x2 @${answer.body.price}`,
    });
  });

  it('charges a reference once when 50 copies race through two processes, and says which answers are replays', async () => {
    const account = await accountWith(1_000_000n);
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        (index % 2 === 0 ? app : second).operator.post('/v1/debits', {
          account,
          reference: 'r',
          model: MODEL,
          images: 1,
        }),
      ),
    );
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(1);
    expect(answers.filter((answer) => answer.status === 200 && answer.body.replayed === true)).toHaveLength(
      49,
    );
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(await rowCount(account)).toBe(2);
  });

  it('answers 409 reference_conflict to the same reference with another body, and charges nothing', async () => {
    const account = await accountWith(1_000_000n);
    const body = { account, reference: 'twice', amount_micros: '1000' };
    (await app.operator.post('/v1/debits', body)).expect(201);
    const conflict = await app.operator.post('/v1/debits', { ...body, amount_micros: '2000' });
    expect(conflict.expect(409).body.error).toMatchObject({
      type: 'conflict',
      code: 'reference_conflict',
      param: 'reference',
    });
    expect(conflict.headers.get('x-should-retry')).toBe('false');
    expect(await rowCount(account)).toBe(2);
  });

  it('refuses with 402 and every number a client needs when the wallet cannot pay; later credit lets the same reference through', async () => {
    const account = await accountWith(39_999n);
    const body = { account, reference: 'poor', model: MODEL, images: 1 };
    const refusal = await app.operator.post('/v1/debits', body);
    expect(refusal.expect(402).body.error).toMatchObject({
      type: 'insufficient_credits',
      code: 'insufficient_credits',
      charged_micros: '0',
      required_micros: '40000',
      available_micros: '39999',
      held_micros: '0',
      shortfall_micros: '1',
      limit_source: 'wallet',
    });
    expect(refusal.headers.get('x-should-retry')).toBe('false');
    await app.operator.post(`/v1/accounts/${account}/grants`, {
      amount_micros: '1',
      reason: 'the last micro',
    });
    expect((await app.operator.post('/v1/debits', body)).expect(201).body.available_micros).toBe('0');
  });

  it('decides each item of a batch on its own, in order', async () => {
    const account = await accountWith(100_000n);
    const item = (reference: string, more: object = {}) => ({
      account,
      reference,
      amount_micros: '40000',
      ...more,
    });
    const answer = await app.operator.post('/v1/debits/batch', {
      debits: [
        item('a'),
        item('b'),
        item('c'),
        item('a'),
        item('a', { amount_micros: '1' }),
        item('d', { bogus: 1 }),
        'x',
      ],
    });
    expect(answer.expect(200).body).toMatchObject({ object: 'debit_batch', succeeded: 3, failed: 4 });
    const summary = answer.body.data.map((entry: BatchEntry) =>
      entry.object === 'debit'
        ? `${entry.reference} ${entry.replayed ? 'replayed' : 'charged'}`
        : `${entry.status} ${entry.error.code}`,
    );
    expect(summary).toEqual([
      'a charged',
      'b charged',
      '402 insufficient_credits',
      'a replayed',
      '409 reference_conflict',
      '400 invalid_request',
      '400 invalid_request',
    ]);
  });

  it('takes 1,000 debits in one batch and refuses 1,001', async () => {
    const account = await accountWith(1_000n * 40_000n);
    const debits = Array.from({ length: 1_001 }, (_, index) => ({
      account,
      reference: `n${index}`,
      model: MODEL,
      images: 1,
    }));
    expect((await app.operator.post('/v1/debits/batch', { debits })).expect(400).body.error.param).toBe(
      'debits',
    );
    const answer = await app.operator.post('/v1/debits/batch', { debits: debits.slice(0, 1_000) });
    expect(answer.expect(200).body).toMatchObject({ succeeded: 1_000, failed: 0 });
    expect(await wallet(account)).toMatchObject({ available_micros: '0', posted_micros: '0' });
  });

  describe('holds', () => {
    it('sets credit aside, posts what was delivered and releases the rest', async () => {
      const account = await accountWith(200_000n);
      const hold = await app.operator.post('/v1/holds', {
        account,
        reference: 'call-1',
        model: MODEL,
        images: 4,
      });
      expect(hold.expect(201).body).toMatchObject({
        object: 'hold',
        status: 'authorized',
        amount_micros: '160000',
        held_micros: '160000',
      });
      expect(await wallet(account)).toMatchObject({
        available_micros: '40000',
        held_micros: '160000',
        posted_micros: '200000',
      });
      const captured = await app.operator.post(`/v1/holds/${hold.body.id}/capture`, { images: 3 });
      expect(captured.expect(200).body).toMatchObject({
        status: 'captured',
        captured_micros: '120000',
        held_micros: '0',
        posted_micros: '80000',
      });
    });

    it('answers a repeated capture or void again, and a contradicting one with 409', async () => {
      const account = await accountWith(200_000n);
      const make = async (reference: string): Promise<string> =>
        (await app.operator.post('/v1/holds', { account, reference, amount_micros: '50000' })).expect(201)
          .body.id;
      const first = await make('one');
      (await app.operator.post(`/v1/holds/${first}/capture`, {})).expect(200);
      expect((await second.operator.post(`/v1/holds/${first}/capture`, {})).expect(200).body.replayed).toBe(
        true,
      );
      const conflict = await app.operator.post(`/v1/holds/${first}/void`);
      expect(conflict.expect(409).body.error).toMatchObject({
        code: 'hold_already_resolved',
        hold_status: 'captured',
        captured_micros: '50000',
      });
      const voided = await make('two');
      (await app.operator.post(`/v1/holds/${voided}/void`)).expect(200);
      expect((await app.operator.post(`/v1/holds/${voided}/void`)).expect(200).body.replayed).toBe(true);
      (await app.operator.post(`/v1/holds/${voided}/capture`, {})).expect(409);
    });

    it('is idempotent by reference', async () => {
      const account = await accountWith(60_000n);
      const body = { account, reference: 'same', amount_micros: '50000' };
      const first = (await app.operator.post('/v1/holds', body)).expect(201).body;
      const again = (await second.operator.post('/v1/holds', body)).expect(200).body;
      expect([again.id, again.replayed]).toEqual([first.id, true]);
      (await app.operator.post('/v1/holds', { ...body, amount_micros: '1' })).expect(409);
    });

    it('never captures more than was held', async () => {
      const account = await accountWith(200_000n);
      const hold = await app.operator.post('/v1/holds', { account, reference: 'x', model: MODEL, images: 2 });
      const { id } = hold.expect(201).body;
      expect(
        (await app.operator.post(`/v1/holds/${id}/capture`, { amount_micros: '80001' })).expect(400).body
          .error.code,
      ).toBe('amount_exceeds_hold');
      expect(
        (await app.operator.post(`/v1/holds/${id}/capture`, { images: 3 })).expect(400).body.error.code,
      ).toBe('amount_exceeds_hold');
      (await app.operator.post(`/v1/holds/${id}/capture`, { images: 2 })).expect(200);
    });

    it('leaves the hold of a running image call to that call: a gateway can neither end nor capture it', async () => {
      const account = await accountWith(100_000n);
      const holdId = newId('hold');
      await app.app.get(WalletEngine).execute({
        type: 'authorize',
        accountId: account,
        actor: 'api_key:key_test',
        keyId: null,
        reference: toHoldReference(newId('generation')),
        fingerprint: 'call',
        memo: null,
        holdId,
        amountMicros: micros(40_000n),
        expiresAtMs: Date.now() + 600_000,
      });
      for (const path of ['capture', 'void']) {
        const answer = await app.operator.post(`/v1/holds/${holdId}/${path}`, {});
        expect(answer.expect(404).body.error.code).toBe('resource_missing');
      }
      expect(await wallet(account)).toMatchObject({ held_micros: '40000', posted_micros: '100000' });
    });

    it('answers 404 for a hold that does not exist', async () => {
      for (const id of ['hold_01ARZ3NDEKTSV4RRFFQ69G5FAV', 'nonsense', "hold_'; DROP TABLE holds"]) {
        const answer = await app.operator.post(`/v1/holds/${encodeURIComponent(id)}/capture`, {});
        expect(answer.expect(404).body.error.code).toBe('resource_missing');
      }
    });
  });
});
