import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { documentedRoutes, largeBodies } from '../support/hostile-requests.js';

let service: TestApp;
let customer: TestCustomer;
beforeAll(async () => {
  // More requests a minute than a key may send.
  service = await startTestApp({ settings: { rateLimit: false } });
  customer = await service.createCustomer();
});
afterAll(() => service.close());

describe('a body as large as the bounds of JSON allow', () => {
  it('is refused by name in the place of any member of any route, and never a fault of ours', async () => {
    const faults: string[] = [];
    for (const { method, path, key, members } of documentedRoutes()) {
      if (members === null || key === null) continue;
      const client = key === 'operator' ? service.operator : customer.client;
      for (const [kind, body] of members.flatMap((name) => Object.entries(largeBodies(name)))) {
        const answer = await client.send(method, path, { body });
        const { code } = (answer.body as { error: { code: string } }).error;
        if (answer.status !== 400 && answer.status !== 404) {
          faults.push(`${method} ${path} with ${kind}: ${answer.status} ${code}`);
        }
      }
    }
    expect(faults).toEqual([]);
  });
});
