import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sharedApp } from '../fixtures/shared-app.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp } from '../support/app/test-app.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';

describe('bad input to debits and holds gets the documented error and changes nothing', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await sharedApp();
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

  const amounts: readonly (readonly [string, unknown])[] = [
    ['negative', '-1'],
    ['negative number', -1],
    ['zero', '0'],
    ['zero number', 0],
    ['fractional', '1.5'],
    ['fractional number', 1.5],
    ['huge', '99999999999999999999999999'],
    ['huge number', 1e30],
    ['just above the bound', '100000000000001'],
    ['exponent', '1e5'],
    ['NaN', 'NaN'],
    ['Infinity', 'Infinity'],
    ['empty', ''],
    ['blank', ' 5'],
    ['hexadecimal', '0x10'],
    ['leading zero', '007'],
    ['words', 'ten dollars'],
    ['boolean', true],
    ['array', ['5']],
    ['object', { value: 5 }],
  ];

  it.each(amounts)('%s amounts on debits, holds, grants and adjustments', async (_name, amount) => {
    const account = await accountWith(1_000_000n);
    const charge = { account, reference: 'bad', amount_micros: amount };
    const answers = [
      await app.operator.post('/v1/debits', charge),
      await app.operator.post('/v1/holds', charge),
      await app.operator.post(`/v1/accounts/${account}/grants`, { amount_micros: amount, reason: 'bad' }),
    ];
    // An adjustment may be negative; everything else that is bad stays bad.
    if (!/^-\d+$/.test(String(amount))) {
      answers.push(
        await app.operator.post(`/v1/accounts/${account}/adjustments`, {
          amount_micros: amount,
          reason: 'bad',
        }),
      );
    }
    for (const answer of answers) {
      expect(answer.expect(400).body.error).toMatchObject({
        type: 'invalid_request_error',
        param: 'amount_micros',
      });
    }
    expect(await wallet(account)).toMatchObject({ posted_micros: '1000000', held_micros: '0' });
    expect(await rowCount(account)).toBe(1);
  });

  it.each([
    ['an unknown field', { amount_micros: '1', amount: 5 }, 'amount'],
    ['images without a model', { images: 1 }, 'model'],
    ['a model without images', { model: MODEL }, 'images'],
    ['both ways of saying what it costs', { model: MODEL, images: 1, amount_micros: '5' }, 'amount_micros'],
    ['no way of saying what it costs', {}, 'model'],
    ['a fraction of an image', { model: MODEL, images: 0.5 }, 'images'],
    ['no images', { model: MODEL, images: 0 }, 'images'],
    ['images as text', { model: MODEL, images: '1' }, 'images'],
    ['more images than a charge may have', { model: MODEL, images: 1_001 }, 'images'],
    ['a blank in the reference', { amount_micros: '1', reference: 'a b' }, 'reference'],
    ['an empty reference', { amount_micros: '1', reference: '' }, 'reference'],
    ['a reference that is too long', { amount_micros: '1', reference: 'x'.repeat(256) }, 'reference'],
    ['a number as reference', { amount_micros: '1', reference: 5 }, 'reference'],
    ['NUL in the description', { amount_micros: '1', description: 'a\u0000b' }, 'description'],
    [
      'a description that forges a charge of 900 images',
      { amount_micros: '5', description: `${MODEL} x900 @price_x` },
      'description',
    ],
    [
      'the same with another kind of blank in the model',
      { amount_micros: '5', description: `a\u00a0model x900 @price_x` },
      'description',
    ],
  ])('%s', async (_name, fields, param) => {
    const account = await accountWith(1_000_000n);
    const answer = await app.operator.post('/v1/debits', { account, reference: 'ok', ...fields });
    expect(answer.expect(400).body.error).toMatchObject({ type: 'invalid_request_error', param });
    const hold = await app.operator.post('/v1/holds', { account, reference: 'ok', ...fields });
    expect(hold.expect(400).body.error).toMatchObject({ type: 'invalid_request_error', param });
    expect(await rowCount(account)).toBe(1);
  });

  it('an unknown model is a 404 model_not_found, an unknown account a 404 resource_missing', async () => {
    const account = await accountWith(1_000_000n);
    const unknownModel = await app.operator.post('/v1/debits', {
      account,
      reference: 'm',
      model: 'nobody/nothing',
      images: 1,
    });
    expect(unknownModel.expect(404).body.error.code).toBe('model_not_found');
    for (const missing of ['acct_01ARZ3NDEKTSV4RRFFQ69G5FAV', 'nonsense', 'acct_platform']) {
      const answer = await app.operator.post('/v1/debits', {
        account: missing,
        reference: 'm',
        amount_micros: '1',
      });
      expect(answer.expect(404).body.error.code).toBe('resource_missing');
    }
  });

  it('a customer key cannot debit, and a key of another scope is answered which one it lacks', async () => {
    const customer = await app.createCustomer({ grantMicros: 1_000_000n });
    const body = { account: customer.accountId, reference: 'own', amount_micros: '1' };
    expect((await customer.client.post('/v1/debits', body)).expect(403).body.error.code).toBe(
      'insufficient_scope',
    );
    expect((await app.client(null).post('/v1/debits', body)).expect(401).body.error.code).toBe(
      'missing_api_key',
    );
    expect((await app.client('op-cof-nonsense').post('/v1/debits', body)).expect(401).body.error.code).toBe(
      'invalid_api_key',
    );
    expect(await rowCount(customer.accountId)).toBe(1);
  });
});
