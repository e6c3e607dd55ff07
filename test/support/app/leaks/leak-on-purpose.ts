import { expect, it } from '@jest/globals';
import { MODEL, SMALL } from '../../../fixtures/images.js';
import { rememberSecret, testLogger } from '../run-log.js';
import { startTestApp } from '../test-app.js';

/** Run by `secret-search.spec.ts` in a run of its own, which has to fail although this test passes. */
it('passes, and leaves a secret in each place that LEAK names', async () => {
  const service = await startTestApp();
  const { client } = await service.createCustomer();
  const where = (process.env['LEAK'] ?? '').split(', ');
  if (where.includes('log')) testLogger().trace({ key: service.operatorKey }, 'made a key');
  if (where.includes('answer')) {
    rememberSecret('v1/no-such-route-as-this');
    rememberSecret('does not answer that method');
    expect((await client.post('/v1/models')).status).toBe(405);
  }
  if (where.includes('prompt')) {
    const call = { model: MODEL, prompt: 'a fox', size: SMALL };
    await client.post('/v1/images/generations', call);
    testLogger().debug({ call }, 'asked');
  }
  await service.close();
});
