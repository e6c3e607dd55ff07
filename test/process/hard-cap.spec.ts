import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { newAccount, newApiKey } from '../support/process/service-customers.js';
import { runProgram, withDatabase } from '../support/process/service-process.js';
import { countOutcomes, TwoGateways } from '../support/process/two-gateways.js';

/** A tenth of what `npm run bench` races. */
const CALLS = 1_000;
const AFFORDABLE = 100;
const IMAGE_MICROS = 40_000;

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('two service processes on one database', () => {
  const cleanUp = new CleanUp();
  let gateways: TwoGateways;

  beforeAll(async () => {
    // The credit is to be the only limit.
    gateways = await TwoGateways.start(cleanUp, CALLS);
  });

  afterAll(() => cleanUp.run());

  it(`deliver exactly ${AFFORDABLE} images of ${CALLS} concurrent calls when that is what was paid for`, async () => {
    const [first] = gateways.services;
    const account = await newAccount(first, AFFORDABLE * IMAGE_MICROS);
    const apiKey = await newApiKey(first, account, ['generate', 'wallet:read']);
    const answers = await gateways.callAll(apiKey, CALLS);
    expect(countOutcomes(answers)).toEqual({
      '200 charged 40000': AFFORDABLE,
      '402 insufficient_credits charged 0': CALLS - AFFORDABLE,
    });
    // Each image is there, and each is another one.
    const urls = answers.filter(({ status }) => status === 200).map(({ body }) => String(body.data[0].url));
    expect(new Set(urls).size).toBe(AFFORDABLE);
    const images = await Promise.all(urls.map((url) => fetch(url)));
    expect(images.filter(({ ok }) => ok)).toHaveLength(AFFORDABLE);

    const wallet = (await first.client(apiKey).get('/v1/wallet')).expect(200).body;
    expect(wallet).toMatchObject({ available_micros: '0', held_micros: '0', posted_micros: '0' });
    expect(gateways.upstream.control.counts().tasks).toBe(AFFORDABLE);
    await withDatabase(gateways.database.serviceUrl, async (dataSource) => {
      const captures = `SELECT count(*)::int AS captures, count(DISTINCT reference)::int AS holds,
                               sum(amount_micros)::text AS micros FROM transfers WHERE kind = 'capture'`;
      expect(await dataSource.query(captures)).toEqual([
        { captures: AFFORDABLE, holds: AFFORDABLE, micros: String(AFFORDABLE * IMAGE_MICROS) },
      ]);
      await expectBooksToBalance(dataSource);
    });
    const doctor = await runProgram(['cli', 'doctor'], { DATABASE_URL: gateways.database.serviceUrl });
    expect(doctor).toMatchObject({ code: 0, output: expect.stringMatching(/^CLEAN/) });
  });
});
