import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EventReceiver, isGenuine } from '../support/webhooks/event-receiver.js';
import { headersOf, linkIn, MailServer } from '../support/servers/mail-server.js';
import { eventually } from '../support/processes.js';
import { newAccount, newApiKey } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/process/service-process.js';

const ALERTS = '/v1/wallet/alerts';
const CREDIT_MICROS = 10_000_000;

describe('the service is killed with -9 while it reports that credit is low', () => {
  let dataDir: string;
  let port: number;
  let service: ServiceProcess;
  let receiver: EventReceiver;
  let mail: MailServer;

  const start = async (): Promise<void> => {
    const env = {
      WEBHOOK_LOOPBACK: 'on',
      SMTP_URL: mail.url.href,
      MAIL_FROM: 'Coffer <alerts@coffer.example>',
    };
    service = await ServiceProcess.start({ dataDir, port, env });
  };

  beforeAll(async () => {
    receiver = await EventReceiver.start();
    mail = await MailServer.start();
    dataDir = await createDataDir();
    port = await chooseServicePort();
    await start();
  });
  afterAll(async () => {
    await service.kill();
    await Promise.all([receiver.close(), mail.close(), removeDataDir(dataDir)]);
  });

  it('is delivered and mailed all the same, under the name that it had before', async () => {
    const account = await newAccount(service, CREDIT_MICROS);
    const key = await newApiKey(service, account, ['wallet:read', 'wallet:write']);
    const customer = service.client(key);
    const endpoint = { url: receiver.url, events: ['wallet.low'] };
    const { secret } = (await customer.post('/v1/webhook_endpoints', endpoint)).expect(201).body;
    const alerts = { email: 'somebody@example.com', low_balance_micros: '5000000' };
    (await customer.send('PUT', ALERTS, { body: alerts })).expect(200);
    await eventually('the address is asked', () => mail.taken.length === 1);
    const link = linkIn(mail.taken[0]?.source ?? '', 'confirm');
    expect((await fetch(link, { method: 'POST' })).status).toBe(200);

    // Both take what they are sent and say nothing, and then there is no one to hear it.
    receiver.answer = () => 'hang';
    mail.answer = () => 'cut';
    const debit = { account, reference: 'spent', amount_micros: '6000000' };
    (await service.client().post('/v1/debits', debit)).expect(201);
    await eventually('both have it', () => receiver.received.length === 1 && mail.taken.length === 2);
    await service.kill();

    receiver.answer = () => ({ status: 204 });
    mail.answer = () => 'take';
    await start();
    // What was on its way is looked at again after a minute or two; the clock of the queue is the database's.
    await withDatabase(await databaseUrlIn(dataDir), async (database) => {
      await database.query(`UPDATE alert_emails SET next_attempt_at = now() WHERE status = 'pending'`);
      await database.query('UPDATE graphile_worker._private_jobs SET run_at = now() WHERE run_at > now()');
    });
    await eventually('both have it again', () => receiver.received.length === 2 && mail.taken.length === 3);
    expect(new Set(receiver.received.map(({ id, body }) => `${id} ${body}`)).size).toBe(1);
    expect(receiver.received.every((one) => isGenuine(one, String(secret)))).toBe(true);
    const names = mail.taken.slice(1).map(({ source }) => headersOf(source).get('message-id'));
    expect(new Set(names).size).toBe(1);
    expect(names[0]).toBe(`<${receiver.received[0]?.id}@coffer.example>`);
    const shown = (await service.client(key).get(ALERTS)).expect(200).body;
    expect(shown).toMatchObject({ email: 'somebody@example.com', email_confirmed: true });
  });
});
