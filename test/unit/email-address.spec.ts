import { describe, expect, it } from '@jest/globals';
import { EMAIL_PATTERN, parseMailbox } from '../../src/platform/common/email-address.js';
import { InvalidSettingsError } from '../../src/platform/config/environment-reader.js';
import { readSettings } from '../../src/platform/config/settings.js';

describe('an address that mail may go to', () => {
  it.each(['a@b.co', 'first.last+tag@mail.example.com', "o'neil@xn--bcher-kva.example", 'x@a-b.c-d.org'])(
    'is %s',
    (address) => expect(EMAIL_PATTERN.test(address)).toBe(true),
  );

  it.each([
    'a@b.co\n',
    '\na@b.co',
    'a@b.co\r\nBcc: c@d.co',
    'a@b.co,c@d.co',
    'a@b.co;c@d.co',
    'a b@c.co',
    'a@b..co',
    'a@-b.co',
    'a@b-.co',
    'a@b',
    '@b.co',
    'a@',
    'a@[127.0.0.1]',
    'a@127.0.0.1',
    '<a@b.co>',
    '"a"@b.co',
    'a@b.co\u0000',
    'a@b.co\u2028',
  ])('is not %j', (address) => expect(EMAIL_PATTERN.test(address)).toBe(false));

  it('is checked in linear time, however it is built', () => {
    const before = process.cpuUsage();
    for (const part of ['a', 'a.', 'a-', '@', 'a@', '.']) EMAIL_PATTERN.test(`${part.repeat(50_000)}!`);
    EMAIL_PATTERN.test(`a@${'a.'.repeat(50_000)}!`);
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(1_000);
  });
});

describe('the sender of mail', () => {
  it('is an address, or a name with one', () => {
    expect(parseMailbox(' billing@example.com ')).toEqual({ name: '', address: 'billing@example.com' });
    expect(parseMailbox('Example Billing <billing@example.com>')).toEqual({
      name: 'Example Billing',
      address: 'billing@example.com',
    });
    for (const text of [
      '',
      'Example',
      'A <b>',
      'A\r\nBcc: x <b@c.co>',
      '"A" <b@c.co>',
      'A <b@c.co> <d@e.co>',
    ]) {
      expect(parseMailbox(text)).toBeNull();
    }
  });

  it('and its server are settings that belong together, and a bad one is named without its value', () => {
    expect(readSettings({}).mail).toBeNull();
    const { mail } = readSettings({ SMTP_URL: 'smtps://user:pass@mail.internal', MAIL_FROM: 'a@b.co' });
    expect(mail).toMatchObject({ from: { address: 'a@b.co' } });
    expect(mail?.smtpUrl.hostname).toBe('mail.internal');
    for (const [env, names] of [
      [{ SMTP_URL: 'https://user:hunter2@mail.internal', MAIL_FROM: 'a@b.co' }, ['SMTP_URL']],
      [{ SMTP_URL: 'smtp://mail.internal' }, ['MAIL_FROM']],
      [{ SMTP_URL: 'smtp://mail.internal', MAIL_FROM: 'nobody' }, ['MAIL_FROM']],
    ] as const) {
      let faults: readonly string[] = [];
      try {
        readSettings(env);
      } catch (error) {
        if (error instanceof InvalidSettingsError) ({ faults } = error);
      }
      expect(faults.map((fault) => fault.split(' ')[0])).toEqual(names);
      expect(faults.join()).not.toMatch(/hunter2|nobody/);
    }
  });
});
