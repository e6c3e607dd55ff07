import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import type { Settings } from '../../src/platform/config/settings.js';
import { MetricsServer } from '../../src/platform/metrics/metrics-server.js';
import { CleanUp } from '../support/clean-up.js';
import { Peer } from '../support/app/peer.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { rememberSecret } from '../support/app/run-log.js';
import { eventually } from '../support/processes.js';

const TOKEN = 'a-token-that-no-other-test-uses';
const ENVIRONMENTS = ['production', 'test'] as const;
const cleanUp = new CleanUp();
const open: Peer[] = [];
afterEach(() => open.splice(0).forEach(({ socket }) => socket.destroy()));
afterAll(() => cleanUp.run());

async function start(
  environment: Settings['environment'],
  metrics: Partial<Settings['metrics']> = {},
): Promise<TestApp> {
  rememberSecret(metrics.token);
  const settings = { environment, metrics: { token: null, port: null, host: '127.0.0.1', ...metrics } };
  const app = await startTestApp({ settings });
  cleanUp.add(() => app.close());
  return app;
}

describe('the metrics', () => {
  it('are not among the routes of production, nor on its page, where the operator has not decided who reads them', async () => {
    const app = await start('production');
    (await app.client(null).get('/metrics')).expect(404);
    (await app.operator.get('/metrics')).expect(404);
    expect(app.app.get(MetricsServer).port).toBeNull();
  });

  it('are open to everybody outside production', async () => {
    const app = await start('development');
    expect((await app.client(null).get('/metrics')).expect(200).body).toContain('coffer_jobs');
  });

  it.each(ENVIRONMENTS)('are read with the token only, where there is one, in %s', async (environment) => {
    const app = await start(environment, { token: TOKEN });
    for (const key of [null, app.operatorKey, `${TOKEN}x`, TOKEN.slice(0, -1)]) {
      const refused = (await app.client(key).get('/metrics')).expect(401);
      expect(refused.body.error.code).toBe('invalid_metrics_token');
    }
    expect((await app.client(TOKEN).get('/metrics')).expect(200).body).toContain('coffer_jobs');
  });

  it.each(ENVIRONMENTS)(
    'are on a port of their own, where they have one, and nowhere else, in %s',
    async (environment) => {
      const app = await start(environment, { port: 0, token: TOKEN });
      (await app.client(TOKEN).get('/metrics')).expect(404);
      const own = `http://127.0.0.1:${app.app.get(MetricsServer).port}`;
      const read = (path: string, headers: Record<string, string>) => fetch(`${own}${path}`, { headers });
      expect((await read('/metrics', {})).status).toBe(401);
      const answer = await read('/metrics', { authorization: `Bearer ${TOKEN}` });
      expect(answer.status).toBe(200);
      expect(await answer.text()).toContain('coffer_jobs');
      expect((await read('/health/live', { authorization: `Bearer ${TOKEN}` })).status).toBe(404);
    },
  );

  it('keep the service from starting when their port is taken, and say which setting to change', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    cleanUp.add(() => once(other.close(), 'close'));
    const { port } = other.address() as { port: number };
    await expect(start('test', { port })).rejects.toThrow(
      `METRICS_PORT cannot be listened on (127.0.0.1:${port}`,
    );
  });
});

describe('the port of the metrics', () => {
  it('has room for others, however many connections one address holds open', async () => {
    const app = await start('test', { port: 0 });
    const url = `http://127.0.0.1:${app.app.get(MetricsServer).port}`;
    const greedy = Array.from({ length: 40 }, () => new Peer(url, '', '127.0.0.2'));
    open.push(...greedy);
    await eventually('some are closed', () => greedy.filter(({ closed }) => closed).length >= 20);
    const scraper = new Peer(url, 'GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n', '127.0.0.3');
    open.push(scraper);
    await eventually('it is answered', () => scraper.received.startsWith('HTTP/1.1 200 '));
  });
});

describe('the database', () => {
  it('is asked for each figure of the metrics once in ten seconds, however many read them at once', async () => {
    const app = await start('test');
    app.clock.stop();
    const asked = jest.spyOn(app.dataSource, 'query');
    const scrape = () =>
      Promise.all(
        Array.from({ length: 20 }, async () => (await app.client(null).get('/metrics')).expect(200)),
      );
    await scrape();
    await scrape();
    expect(asked).toHaveBeenCalledTimes(4);
    app.clock.letPass(10_001);
    await scrape();
    expect(asked).toHaveBeenCalledTimes(8);
  });

  it('is asked for readiness once a second, however many ask at once', async () => {
    const app = await start('test');
    app.clock.stop();
    const asked = jest.spyOn(app.dataSource, 'query');
    const ask = () =>
      Promise.all(
        Array.from({ length: 20 }, async () => (await app.client(null).get('/health/ready')).expect(200)),
      );
    await ask();
    await ask();
    expect(asked).toHaveBeenCalledTimes(1);
    app.clock.letPass(1_001);
    await ask();
    expect(asked).toHaveBeenCalledTimes(2);
  });
});
