import { afterEach, expect, it } from '@jest/globals';
import { LEASE_MS } from '../../src/identity/rate-limits/rate-limiter.service.js';
import { CleanUp } from '../support/clean-up.js';
import { eventually } from '../support/processes.js';
import { generate } from '../fixtures/images.js';
import { RedisSimulator } from '../support/servers/redis-simulator.js';
import type { ServiceProcess } from '../support/process/service-process.js';
import { TwoGateways } from '../support/process/two-gateways.js';

const CONCURRENT = 4;
const cleanUp = new CleanUp();

afterEach(() => cleanUp.run());

async function createCustomer(service: ServiceProcess): Promise<{ accountId: string; apiKey: string }> {
  const operator = service.client();
  const accountId = String((await operator.post('/v1/accounts', { name: 'Limited' })).expect(201).body.id);
  const grant = { amount_micros: '10000000', reason: 'test credit' };
  (await operator.post(`/v1/accounts/${accountId}/grants`, grant)).expect(201);
  const limits = { concurrent_requests: CONCURRENT, reason: 'a small customer' };
  (await operator.send('PUT', `/v1/accounts/${accountId}/limits`, { body: limits })).expect(200);
  const key = await operator.post(`/v1/accounts/${accountId}/api_keys`, {
    name: 'key',
    scopes: ['generate'],
  });
  return { accountId, apiKey: String(key.expect(201).body.secret) };
}

it('frees the slots of a process that was killed with running calls, after its lease and not before', async () => {
  const redis = await RedisSimulator.start();
  cleanUp.add(() => redis.stop());
  const gateways = await TwoGateways.start(cleanUp, 50, { RATE_LIMIT: 'on', REDIS_URL: redis.url });
  const [first, second] = gateways.services;
  const { apiKey } = await createCustomer(first);
  const running = Array.from({ length: CONCURRENT }, () =>
    generate({ client: first.client(apiKey) }, { prompt: 'a fox [sandbox:hang]' }).catch(() => 'cut off'),
  );
  const atSecond = { client: second.client(apiKey) };
  await eventually('each has its slot', () =>
    [...redis.slots.values()].some(({ size }) => size === CONCURRENT),
  );
  const refused = (await generate(atSecond)).expect(429);
  expect(refused.body.error.code).toBe('concurrency_limit_exceeded');

  await first.kill();
  expect(await Promise.all(running)).toEqual(running.map(() => 'cut off'));
  (await generate(atSecond)).expect(429);
  redis.aheadMs = LEASE_MS + 1_000;
  const answers = await Promise.all(Array.from({ length: CONCURRENT }, () => generate(atSecond)));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
}, 60_000);
