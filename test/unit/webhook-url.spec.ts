import { describe, expect, it } from '@jest/globals';
import { readSettings } from '../../src/platform/config/settings.js';
import {
  isLoopbackAddress,
  isPublicAddress,
  checkOutsideUrl,
} from '../../src/platform/egress/outside-url.js';

const STRICT = { loopback: false };
const LENIENT = { loopback: true };

const isTaken = (text: string, policy = STRICT): boolean => 'url' in checkOutsideUrl(text, policy);

describe('the URL of a webhook endpoint', () => {
  it.each([
    'https://example.com',
    'https://example.com/hooks?token=abc',
    'https://hooks.example.co.uk:8443/a/b',
    'https://example.com:443/',
    'https://example.com:80/',
    'https://example.com:1024/',
    'https://example.com:65535/',
    'HTTPS://EXAMPLE.COM/',
    'https://xn--bcher-kva.example.com/',
    'https://93.184.215.14/hook',
    'https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/hook',
  ])('is taken: %s', (text) => {
    expect(checkOutsideUrl(text, STRICT)).toHaveProperty('url');
  });

  it.each([
    ['nothing', ''],
    ['no URL', 'not a url'],
    ['no scheme', 'example.com/hook'],
    ['another scheme', 'ftp://example.com/'],
    ['a file', 'file:///etc/passwd'],
    ['script', 'javascript:alert(1)'],
    ['gopher', 'gopher://127.0.0.1:6379/_FLUSHALL'],
    ['plain http', 'http://example.com/'],
    ['a user', 'https://user@example.com/'],
    ['a password', 'https://user:secret@example.com/'],
    ['an empty user', 'https://:secret@example.com/'],
    ['a fragment', 'https://example.com/#part'],
    ['white space', 'https://example.com/a b'],
    ['a line break', 'https://example.com/\r\nx-injected: 1'],
    ['a tab in the host', 'https://exa\tmple.com/'],
    ['a backslash', 'https://example.com\\@127.0.0.1/'],
    ['letters beyond ASCII', 'https://bücher.example.com/'],
    ['NUL', 'https://example.com/\u0000'],
    ['no host', 'https:///hook'],
    ['one word', 'https://intranet/'],
    ['two dots', 'https://example..com/'],
    ['port 0', 'https://example.com:0/'],
    ['SSH', 'https://example.com:22/'],
    ['mail', 'https://example.com:25/'],
    ['a directory', 'https://example.com:389/'],
    ['the last privileged port', 'https://example.com:1023/'],
    ['a port beyond all', 'https://example.com:65536/'],
    ['more than 2,000 characters', `https://example.com/${'a'.repeat(2_000)}`],
    ['localhost', 'https://localhost/'],
    ['localhost with a dot', 'https://localhost./'],
    ['a name below localhost', 'https://a.localhost/'],
    ['a name of the local network', 'https://printer.local/'],
    ['a cloud’s metadata', 'https://metadata.google.internal/computeMetadata/v1/'],
    ['a home', 'https://nas.home.arpa/'],
    ['loopback', 'https://127.0.0.1/'],
    ['loopback in one number', 'https://2130706433/'],
    ['loopback in hexadecimal', 'https://0x7f000001/'],
    ['loopback in octal', 'https://0177.0.0.1/'],
    ['loopback cut short', 'https://127.1/'],
    ['loopback with a dot at the end', 'https://127.0.0.1./'],
    ['loopback in wide digits', 'https://１２７.0.0.1/'],
    ['any address', 'https://0.0.0.0/'],
    ['a private address', 'https://10.0.0.5:8080/'],
    ['cloud metadata by address', 'https://169.254.169.254/latest/meta-data'],
    ['IPv6 loopback', 'https://[::1]/'],
    ['IPv6 that wraps IPv4 loopback', 'https://[::ffff:127.0.0.1]/'],
    ['IPv6 that wraps it in hexadecimal', 'https://[::ffff:7f00:1]/'],
    ['a unique local address', 'https://[fd00::1]/'],
    ['NAT64', 'https://[64:ff9b::a9fe:a9fe]/'],
  ])('is refused: %s', (_what, text) => {
    expect(checkOutsideUrl(text, STRICT)).toHaveProperty('fault');
  });

  it('may be on this machine, over http, only where a setting allows it', () => {
    for (const text of ['http://127.0.0.1:4000/hook', 'http://localhost:4000/', 'http://[::1]:4000/']) {
      expect({ text, strict: isTaken(text), lenient: isTaken(text, LENIENT) }).toEqual({
        text,
        strict: false,
        lenient: true,
      });
    }
    for (const text of [
      'http://example.com/',
      'http://10.0.0.1:4000/',
      'https://192.168.1.1/',
      'http://169.254.169.254/',
      'http://127.0.0.1:22/',
      'http://user@127.0.0.1:4000/',
    ]) {
      expect({ text, lenient: isTaken(text, LENIENT) }).toEqual({ text, lenient: false });
    }
  });
});

describe('the setting that lets webhooks stay on this machine', () => {
  it('is off unless asked for, and refused in production', () => {
    expect(readSettings({}).webhookLoopback).toBe(false);
    expect(readSettings({ WEBHOOK_LOOPBACK: 'on' }).webhookLoopback).toBe(true);
    const production = { NODE_ENV: 'production', WEBHOOK_LOOPBACK: 'on' };
    expect(() => readSettings(production)).toThrow('WEBHOOK_LOOPBACK cannot be on in production');
  });
});

describe('an address that a customer may make us connect to', () => {
  it.each([
    '8.8.8.8',
    '93.184.215.14',
    '1.1.1.1',
    '172.15.255.255',
    '172.32.0.1',
    '2606:4700::1111',
    '2a00:1450::1',
  ])('is on the public internet: %s', (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  it.each([
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '10.255.255.255',
    '100.64.0.1',
    '100.127.255.255',
    '127.0.0.1',
    '127.255.255.254',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.2.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '168.63.129.16',
    '::ffff:168.63.129.16',
    '::ffff:8.8.8.8',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:db8::1',
    '2002:7f00:1::',
    '3fff::1',
    '5f00::1',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
    '2606:4700::1111%eth0',
    '',
    'example.com',
    '1.2.3.4.5',
    '8.8.8.8 ',
  ])('is not: %s', (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  it('knows loopback from everything else', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1'].map(isLoopbackAddress)).toEqual([true, true, true]);
    expect(['128.0.0.1', '10.0.0.1', '::2', '::ffff:127.0.0.1', 'localhost'].map(isLoopbackAddress)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ]);
  });
});
