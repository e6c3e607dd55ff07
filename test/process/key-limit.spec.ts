import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { newAccount, newApiKey } from '../support/process/service-customers.js';
import { withDatabase } from '../support/process/service-process.js';
import { countOutcomes, TwoGateways } from '../support/process/two-gateways.js';

const CALLS = 1_000;
const ALLOWED = 60;
/** Of the account's other key, at the same time. */
const OTHER_CALLS = 60;
const IMAGE_MICROS = 40_000;

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('two service processes on one database', () => {
  const cleanUp = new CleanUp();
  let gateways: TwoGateways;

  beforeAll(async () => {
    // The key's limit is to be the only one.
    gateways = await TwoGateways.start(cleanUp, CALLS + OTHER_CALLS, { RATE_LIMIT: 'off' });
  });

  afterAll(() => cleanUp.run());

  it(`capture exactly ${ALLOWED} images of ${CALLS} concurrent calls of a key that may spend as much, while another key of its account goes on`, async () => {
    const [first] = gateways.services;
    // Ten times what is spent: the wallet refuses no one.
    const account = await newAccount(first, 10 * (ALLOWED + OTHER_CALLS) * IMAGE_MICROS);
    const limited = await newApiKey(first, account, ['generate']);
    const other = await newApiKey(first, account, ['generate', 'wallet:read', 'keys:write']);
    const keys = (await first.client(other).get('/v1/api_keys')).expect(200).body.data;
    const { id } = keys.find(({ hint }: { hint: string }) => hint.endsWith(limited.slice(-4)));
    const limit = { spend_limits: { total_micros: String(ALLOWED * IMAGE_MICROS) } };
    (await first.client(other).send('PATCH', `/v1/api_keys/${id}`, { body: limit })).expect(200);

    const [answers, others] = await Promise.all([
      gateways.callAll(limited, CALLS),
      gateways.callAll(other, OTHER_CALLS),
    ]);
    expect(countOutcomes(answers)).toEqual({
      '200 charged 40000': ALLOWED,
      '402 key_limit_reached charged 0': CALLS - ALLOWED,
    });
    expect(countOutcomes(others)).toEqual({ '200 charged 40000': OTHER_CALLS });
    expect((await first.client(other).get(`/v1/api_keys/${id}`)).expect(200).body.spend_limits).toMatchObject(
      {
        total_micros: String(ALLOWED * IMAGE_MICROS),
        total_used_micros: String(ALLOWED * IMAGE_MICROS),
      },
    );
    await withDatabase(gateways.database.serviceUrl, async (dataSource) => {
      const captures = `SELECT count(*)::int AS captures, sum(captured_micros)::text AS micros
                          FROM holds WHERE key_id = $1 AND status = 'captured'`;
      expect(await dataSource.query(captures, [id])).toEqual([
        { captures: ALLOWED, micros: String(ALLOWED * IMAGE_MICROS) },
      ]);
      await expectBooksToBalance(dataSource);
    });
  });
});
