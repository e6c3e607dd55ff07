import { it } from '@jest/globals';
import { startTestApp } from '../support/test-app.js';
import { startTopUp, settled, expectCreditedOnce } from '../support/top-up-books.js';
it('latency', async () => {
  const app = await startTestApp({ stripe: true });
  const times: number[] = [];
  for (let i = 0; i < 60; i += 1) {
    const t = await startTopUp(app);
    const t0 = performance.now();
    await app.stripe?.control.pay(t.sessionId);
    for (;;) {
      const rows = await app.dataSource.query<unknown[]>(`select from credit_lots where account_id = $1`, [t.customer.accountId]);
      if (rows.length) break;
      await new Promise((r) => setTimeout(r, 1));
    }
    times.push(performance.now() - t0);
  }
  times.sort((a, b) => a - b);
  console.log('sequential p50', times[30], 'p90', times[54], 'max', times.at(-1));
  const tops = [];
  for (let i = 0; i < 200; i += 1) tops.push(await startTopUp(app));
  const t0 = performance.now();
  await Promise.all(tops.map((t) => app.stripe?.control.pay(t.sessionId)));
  await settled(app);
  console.log('burst of 200 in', performance.now() - t0);
  for (const t of tops.slice(0, 20)) await expectCreditedOnce(app, t);
  await app.close();
}, 120000);
