import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import type { Settings } from '../../src/platform/config/settings.js';
import { AlertEmailJob } from '../../src/notifications/alerts/alert-email.job.js';
import { linkIn } from '../support/servers/mail-server.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const ALERTS = '/v1/wallet/alerts';

/** Runs what waits, as a worker would. */
async function send({ app, dataSource }: TestApp): Promise<void> {
  const rows = await dataSource.query<{ id: string; account_id: string }[]>('SELECT * FROM alert_emails');
  const job = app.get(AlertEmailJob, { strict: false });
  for (const { id, account_id } of rows) await job.run({ account_id, email_id: id });
}

describe('a service without a mail server', () => {
  async function withoutServer(
    settings: Partial<Settings>,
    check: (other: TestApp, logged: string) => Promise<void>,
  ) {
    let logged = '';
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        logged += chunk.toString();
        done();
      },
    });
    const other = await startTestApp({
      settings: { mail: null, runJobs: false, ...settings },
      log: pino(stream),
    });
    try {
      await check(other, logged);
    } finally {
      await other.close();
    }
  }

  it('writes mails to files that only their owner reads, outside production, and says so at start', async () => {
    await withoutServer({}, async (other, logged) => {
      expect(logged).toContain(`"event":"mail.written_to_files","folder":"${other.settings.dataDir}/mail"`);
      const asker = await other.createCustomer();
      (await asker.client.send('PUT', ALERTS, { body: { email: 'newcomer@example.com' } })).expect(200);
      await send(other);
      const folder = path.join(other.settings.dataDir, 'mail');
      const files = await readdir(folder);
      expect(files).toEqual([expect.stringMatching(/^eml_\w+\.eml$/)]);
      const file = path.join(folder, files[0] ?? '');
      expect([(await stat(folder)).mode & 0o777, (await stat(file)).mode & 0o777]).toEqual([0o700, 0o600]);
      const link = linkIn(await readFile(file, 'utf8'), 'confirm');
      expect((await fetch(link, { method: 'POST' })).status).toBe(200);
      expect((await asker.client.get(ALERTS)).body.email_confirmed).toBe(true);
    });
  });

  it('takes no address in production, and says why, at start as well', async () => {
    await withoutServer({ environment: 'production' }, async (other, logged) => {
      expect(logged).toContain('"event":"mail.disabled"');
      const asker = await other.createCustomer();
      const { error } = (
        await asker.client.send('PUT', ALERTS, { body: { email: 'somebody@example.com' } })
      ).expect(400).body;
      expect(error).toMatchObject({ param: 'email', message: expect.stringContaining('sends no e-mail') });
      (await asker.client.send('PUT', ALERTS, { body: { low_balance_micros: '1000000' } })).expect(200);
    });
  });
});
