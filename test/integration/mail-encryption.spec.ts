import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SmtpTransport } from '../../src/notifications/email/smtp-transport.js';
import { MailServer } from '../support/servers/mail-server.js';

const MAIL = {
  id: 'mail_1',
  messageId: '<1@coffer.example>',
  from: { name: 'Coffer', address: 'billing@coffer.example' },
  to: 'ann@customer.example',
  subject: 'Confirm your address',
  text: 'A link',
  html: '<p>A link</p>',
  date: new Date(0),
  headers: {},
};

let server: MailServer;
beforeAll(async () => {
  server = await MailServer.start();
});
afterAll(() => server.close());

/** Reaches the same server by an address that must not be taken for this machine. */
function elsewhere(): URL {
  const url = new URL(server.url);
  url.hostname = '0.0.0.0';
  return url;
}

describe('mail where TLS is required', () => {
  it('is not sent to a server on another machine that speaks no TLS, also without credentials', async () => {
    await expect(new SmtpTransport(elsewhere(), true).send(MAIL)).rejects.toThrow('ETLS');
    expect(server.taken).toEqual([]);
  });

  it('is sent to this machine, and where TLS is not required', async () => {
    await new SmtpTransport(server.url, true).send(MAIL);
    await new SmtpTransport(elsewhere(), false).send(MAIL);
    expect(server.taken).toHaveLength(2);
  });
});
