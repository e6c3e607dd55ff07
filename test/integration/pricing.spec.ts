import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { DatabaseUnavailableError } from '../../src/platform/errors/common.errors.js';
import { PriceBookService } from '../../src/money/pricing/price-book.service.js';
import { PriceEntity } from '../../src/money/pricing/price.entity.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { generate, MODEL } from '../fixtures/images.js';
import { eventually } from '../support/processes.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';

const HOUR_MS = 3_600_000;

let service: TestApp;
let customer: TestCustomer;
let nowMs = Date.now();
beforeAll(async () => {
  service = await sharedApp();
  customer = await service.createCustomer();
});

/** Both clocks of a book, moved by the test. */
const CLOCKS = [{ nowMs: () => nowMs }, { monotonicMs: () => nowMs }] as const;

function openBook(): PriceBookService {
  return new PriceBookService(service.dataSource.getRepository(PriceEntity), ...CLOCKS);
}

async function publish(
  model: string,
  version: number,
  amountMicros: number,
  effectiveFromMs: number,
): Promise<string> {
  const id = newId('price');
  await service.dataSource.query(
    `INSERT INTO prices (id, model, version, unit, amount_micros, effective_from, created_at)
     VALUES ($1, $2, $3, 'image', $4, $5, now())`,
    [id, model, version, amountMicros, new Date(effectiveFromMs)],
  );
  return id;
}

describe('the price book', () => {
  it('is seeded with four cents an image', async () => {
    expect(await openBook().requirePrice(MODEL)).toMatchObject({
      version: 1,
      unit: 'image',
      amountMicros: 40_000n,
    });
  });

  it('answers at once after the first look, without another query', async () => {
    const book = openBook();
    expect(book.current(MODEL)).toBeNull();
    const price = await book.requirePrice(MODEL);
    expect(book.current(MODEL)).toEqual(price);
  });

  it('says 404 model_not_found, and does not ask the database again for every unknown name', async () => {
    let queries = 0;
    const rows = service.dataSource.getRepository(PriceEntity);
    const counted = Object.create(rows) as typeof rows;
    counted.find = () => {
      queries += 1;
      return rows.find();
    };
    const book = new PriceBookService(counted, ...CLOCKS);
    const asked = Array.from({ length: 50 }, (_, index) =>
      book.requirePrice(`unknown-${index}`).catch((error: unknown) => error),
    );
    for (const error of await Promise.all(asked))
      expect(error).toMatchObject({ code: 'model_not_found', status: 404 });
    await expect(book.requirePrice('unknown again')).rejects.toMatchObject({ code: 'model_not_found' });
    expect(queries).toBe(1);
  });

  it('changes a price at the announced moment, without a look at the database', async () => {
    const model = 'test/announced';
    await publish(model, 1, 10_000, nowMs - HOUR_MS);
    const later = await publish(model, 2, 20_000, nowMs + 1_000);
    const book = openBook();
    expect((await book.requirePrice(model)).amountMicros).toBe(10_000n);
    nowMs += 1_000;
    expect(book.current(model)).toMatchObject({ id: later, amountMicros: 20_000n });
  });

  it('sees a price that was published for now within seconds', async () => {
    const model = 'test/now';
    await publish(model, 1, 10_000, nowMs - HOUR_MS);
    const book = openBook();
    await book.requirePrice(model);
    await publish(model, 2, 30_000, nowMs);
    nowMs += 3_000;
    await eventually('the price is read', () => book.current(model)?.amountMicros === 30_000n);
  });

  it('never charges the old price first where no call came for a while', async () => {
    const model = 'test/idle';
    await publish(model, 1, 10_000, nowMs - HOUR_MS);
    const book = openBook();
    await book.requirePrice(model);
    await publish(model, 2, 30_000, nowMs);
    nowMs += 6_000;
    expect(book.current(model)).toBeNull();
    expect((await book.requirePrice(model)).amountMicros).toBe(30_000n);
  });

  it('does not keep everybody waiting for a reading that hangs', async () => {
    const rows = service.dataSource.getRepository(PriceEntity);
    const hanging = Object.create(rows) as typeof rows;
    const book = new PriceBookService(hanging, ...CLOCKS, 20);
    await book.requirePrice(MODEL);
    hanging.find = () => new Promise(() => undefined);
    nowMs += 10_000;
    expect(await book.requirePrice(MODEL)).toMatchObject({ model: MODEL });
    nowMs += 30_000;
    await expect(book.requirePrice(MODEL)).rejects.toMatchObject({ code: 'database_unavailable' });
  });

  it('never goes back to an older copy whose reading was answered late', async () => {
    const model = 'test/late';
    await publish(model, 1, 10_000, nowMs - HOUR_MS);
    const rows = service.dataSource.getRepository(PriceEntity);
    const silent = Object.create(rows) as typeof rows;
    const answers: ((found: PriceEntity[]) => void)[] = [];
    const earlier = await rows.find();
    silent.find = () => new Promise((resolve) => answers.push(resolve));
    const book = new PriceBookService(silent, ...CLOCKS);
    const price = book.requirePrice(model);
    await eventually('the book is read again', () => answers.length === 2);
    await publish(model, 2, 30_000, nowMs);
    answers[1]?.(await rows.find());
    expect((await price).amountMicros).toBe(30_000n);
    answers[0]?.(earlier);
    await Promise.resolve();
    expect(book.current(model)?.amountMicros).toBe(30_000n);
  });

  it('stops believing its memory when the database stays away, instead of selling at old prices', async () => {
    const rows = service.dataSource.getRepository(PriceEntity);
    const away = Object.create(rows) as typeof rows;
    const book = new PriceBookService(away, ...CLOCKS);
    await book.requirePrice(MODEL);
    away.find = () => Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNREFUSED' }));
    nowMs += 10_000;
    expect(await book.requirePrice(MODEL)).toMatchObject({ model: MODEL });
    nowMs += 30_000;
    expect(book.current(MODEL)).toBeNull();
    await expect(book.requirePrice(MODEL)).rejects.toMatchObject({
      code: 'database_unavailable',
      status: 503,
    });
  });

  it('says that nothing was charged where an image call finds no price that it may believe', async () => {
    const book = service.app.get(PriceBookService);
    jest.spyOn(book, 'current').mockReturnValue(null);
    jest.spyOn(book, 'requirePrice').mockRejectedValue(new DatabaseUnavailableError(new Error('gone')));
    try {
      const refused = (await generate(customer, { size: '64x64' })).expect(503);
      expect(refused.body.error).toMatchObject({ code: 'database_unavailable', charged_micros: '0' });
    } finally {
      jest.restoreAllMocks();
    }
  });

  it.each(['UPDATE prices SET amount_micros = 1', 'DELETE FROM prices', 'TRUNCATE prices'])(
    'is never changed: %s',
    async (sql) => {
      await expect(service.dataSource.query(sql)).rejects.toThrow(/permission denied|never changed/);
    },
  );

  it.each([
    ['a negative price', 1, -1],
    ['an absurd price', 1, 1_000_000_001],
    ['version 0', 0, 1],
  ])('cannot hold %s', async (_what, version, amount) => {
    await expect(publish('test/bad', version, amount, nowMs)).rejects.toThrow(
      /prices_(amount_bounded|version_positive)/,
    );
  });

  it('cannot hold a version twice', async () => {
    await publish('test/twice', 1, 1, nowMs);
    await expect(publish('test/twice', 1, 2, nowMs)).rejects.toThrow(/prices_model_version_key/);
  });
});

describe('POST /v1/quotes', () => {
  const quote = (body: object) => customer.client.post('/v1/quotes', body);

  it.each([
    [{}, 1, '40000'],
    [{ images: 3 }, 3, '120000'],
    [{ n: 10, size: '2048x2048' }, 10, '400000'],
    [{ images: 2, n: 2 }, 2, '80000'],
    [{ images: 1_000_000 }, 1_000_000, '40000000000'],
    [{ images: null, n: null, size: null }, 1, '40000'],
  ])('prices %j', async (body, images, total) => {
    expect((await quote({ model: MODEL, ...body })).expect(200).body).toMatchObject({
      object: 'quote',
      model: MODEL,
      images,
      unit: 'image',
      unit_price_micros: '40000',
      total_micros: total,
      price_version: 1,
    });
  });

  it.each([
    [{ images: 0 }, 'images'],
    [{ images: 1.5 }, 'images'],
    [{ images: '3' }, 'images'],
    [{ images: 1_000_001 }, 'images'],
    [{ images: 2, n: 3 }, 'n'],
    [{ size: 'big' }, 'size'],
    [{ model: 7 }, 'model'],
    [{ colour: 'red' }, 'colour'],
  ])('refuses %j', async (body, param) => {
    const answer = (await quote({ model: MODEL, ...body })).expect(400);
    expect(answer.body.error).toMatchObject({ code: 'invalid_request', param });
  });

  it('says 404 for an unknown model and 401 without a key', async () => {
    expect((await quote({ model: 'none' })).expect(404).body.error.code).toBe('model_not_found');
    (await service.client(null).post('/v1/quotes', { model: MODEL })).expect(401);
  });
});
