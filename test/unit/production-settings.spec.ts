import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { createLogger } from '../../src/platform/logging/logger.js';
import { InvalidSettingsError } from '../../src/platform/config/environment-reader.js';
import { PRODUCTION_RULES } from '../../src/platform/config/production-rules.js';
import { readSettings } from '../../src/platform/config/settings.js';
import { warnOfOverrides } from '../../src/bootstrap/start-warnings.js';

const masterKey = (bytes: Buffer) => `k1:${bytes.toString('base64')}`;

/** Everything that production wants, and nothing that it refuses. */
const SOUND = {
  NODE_ENV: 'production',
  PUBLIC_URL: 'https://coffer.test',
  DATABASE_URL: 'postgres://coffer:aVeryGoodOne@db.internal/coffer?sslmode=verify-full',
  STRIPE_SECRET_KEY: 'sk_live_0123456789abcdef',
  STRIPE_WEBHOOK_SECRET: `whsec_${'0123456789abcdef'.repeat(2)}`,
  BFL_API_KEY: 'bfl_0123456789abcdef',
  COFFER_MASTER_KEYS: masterKey(randomBytes(32)),
  COFFER_OPERATOR_KEY: 'op-cof-0123456789abcdef',
  TRUSTED_PROXIES: 'none',
};

function faultsOf(changes: Readonly<Record<string, string | undefined>>): readonly string[] {
  try {
    readSettings({ ...SOUND, ...changes });
    return [];
  } catch (error) {
    if (error instanceof InvalidSettingsError) return error.faults;
    throw error;
  }
}

/** What each override allows, and the setting that is named without it. */
const REFUSED: Readonly<Record<string, readonly Readonly<Record<string, string>>[]>> = {
  ALLOW_STRIPE_TEST_MODE: [
    { STRIPE_SECRET_KEY: 'sk_test_0123456789abcdef' },
    { STRIPE_SECRET_KEY: 'rk_test_0123456789abcdef' },
  ],
  ALLOW_UNUSUAL_STRIPE_WEBHOOK_SECRET: [
    { STRIPE_WEBHOOK_SECRET: 'whsec_tooshort0123' },
    { STRIPE_WEBHOOK_SECRET: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' },
  ],
  ALLOW_WEAK_MASTER_KEYS: [
    { COFFER_MASTER_KEYS: masterKey(Buffer.alloc(32)) },
    { COFFER_MASTER_KEYS: `${masterKey(randomBytes(32))},old:${Buffer.alloc(32, 7).toString('base64')}` },
    { COFFER_MASTER_KEYS: masterKey(Buffer.from('the same text, again and again!!')) },
    { COFFER_MASTER_KEYS: masterKey(Buffer.from(Array.from({ length: 32 }, (_, index) => index))) },
  ],
  ALLOW_HTTP_PUBLIC_URL: [{ PUBLIC_URL: 'http://coffer.test' }],
  ALLOW_HTTP_UPSTREAMS: [
    { STRIPE_API_BASE: 'http://stripe.internal' },
    { BFL_API_BASE: 'HTTP://bfl.internal' },
    { CLOUDFLARE_API_BASE: 'http://cloudflare.internal' },
    { OPENAI_COMPATIBLE_API_BASE: 'http://10.0.0.7/v1', OPENAI_COMPATIBLE_API_KEY: 'a key of some length' },
    { S3_ENDPOINT: 'http://s3.internal:9000' },
    { OPENAI_COMPATIBLE_RESULT_HOSTS: 'images.internal, http://10.0.0.7:9000' },
  ],
  ALLOW_DATABASE_WITHOUT_TLS: [
    { DATABASE_URL: 'postgres://coffer:pw@db.internal/coffer' },
    { DATABASE_URL: 'postgres://coffer:pw@db.internal/coffer?sslmode=disable' },
    // Encrypted, but by whomever: the driver will stop verifying it.
    { DATABASE_URL: 'postgres://coffer:pw@db.internal/coffer?sslmode=require' },
    { DATABASE_URL: 'postgres://coffer:pw@db.internal/coffer?sslmode=no-verify' },
    // The driver reads the last of several, and connects to the host of the query.
    { DATABASE_URL: 'postgres://coffer:pw@db.internal/coffer?sslmode=verify-full&sslmode=disable' },
    { DATABASE_URL: 'postgres://coffer:pw@localhost/coffer?host=db.internal' },
    { MIGRATION_DATABASE_URL: 'postgres://owner:pw@db.internal/coffer' },
  ],
  ALLOW_REDIS_WITHOUT_TLS: [{ REDIS_URL: 'redis://:pw@redis.internal:6379' }],
};

const LOCAL = [
  { PUBLIC_URL: 'http://127.0.0.1:3000' },
  { STRIPE_API_BASE: 'http://localhost:12111', BFL_API_BASE: 'http://[::1]:12112' },
  { DATABASE_URL: 'postgres://coffer:pw@127.0.0.1:5432/coffer' },
  { DATABASE_URL: 'postgres://coffer@%2Fvar%2Frun%2Fpostgresql/coffer' },
  { DATABASE_URL: 'postgres://coffer@db/coffer?host=/var/run/postgresql' },
  { REDIS_URL: 'redis://localhost:6379' },
  { REDIS_URL: '/var/run/redis.sock' },
];

describe('production', () => {
  it('starts with sound settings, and with nothing to warn of', () => {
    expect(
      faultsOf({
        REDIS_URL: 'rediss://redis.internal',
        SMTP_URL: 'smtps://mail.internal',
        MAIL_FROM: 'a@b.test',
      }),
    ).toEqual([]);
    expect(readSettings(SOUND).overrides).toEqual([]);
  });

  describe.each(Object.entries(REFUSED))('without %s', (override, cases) => {
    it.each(cases)('is not started with %o', (unsound) => {
      const name = Object.keys(unsound)[0];
      const faults = faultsOf(unsound);
      expect(faults.map((fault) => fault.split(' ')[0])).toEqual([name]);
      expect(faults[0]).toMatch(
        new RegExp(`^\\S+ (is|has|reaches) .*, or set ${override}=yes to allow it\\.$`),
      );
    });

    it('is started when the operator allows it by that name, and by no other', () => {
      for (const unsound of cases) {
        const allowed = readSettings({ ...SOUND, ...unsound, [override]: 'yes' });
        expect(allowed.overrides).toMatchObject([{ override, needed: true }]);
        const others = PRODUCTION_RULES.filter((rule) => rule.override !== override);
        const rest = Object.fromEntries(others.map((rule) => [rule.override, 'yes']));
        expect(faultsOf({ ...unsound, ...rest })).toHaveLength(1);
        expect(faultsOf({ ...unsound, [override]: 'true' }).join()).toContain(
          `${override} must be one of yes, no`,
        );
      }
    });
  });

  it('refuses nothing elsewhere', () => {
    for (const unsound of Object.values(REFUSED).flat()) {
      expect(faultsOf({ ...unsound, NODE_ENV: 'development' })).toEqual([]);
    }
  });

  it.each(LOCAL)('needs no TLS to this machine itself: %o', (settings) => {
    expect(faultsOf(settings)).toEqual([]);
  });

  it('wants a decision about the proxies in front of it: their addresses, or none', () => {
    const [fault = ''] = faultsOf({ TRUSTED_PROXIES: undefined });
    expect(fault).toMatch(/^TRUSTED_PROXIES is required in production: .* none/);
    expect(readSettings(SOUND).trustedProxies).toEqual([]);
    expect(readSettings({ ...SOUND, TRUSTED_PROXIES: '10.0.0.0/8' }).trustedProxies).toEqual(['10.0.0.0/8']);
  });

  it('sends mail over TLS only, unless that is allowed', () => {
    const mail = { SMTP_URL: 'smtp://mail.internal', MAIL_FROM: 'a@b.test' };
    expect(readSettings({ ...SOUND, ...mail }).mail?.requiresTls).toBe(true);
    const allowed = readSettings({ ...SOUND, ...mail, ALLOW_SMTP_WITHOUT_TLS: 'yes' });
    expect(allowed.mail?.requiresTls).toBe(false);
    expect(allowed.overrides).toMatchObject([{ override: 'ALLOW_SMTP_WITHOUT_TLS', needed: true }]);
    expect(readSettings(mail).mail?.requiresTls).toBe(false);
  });

  it('names all problems at once, each setting once', () => {
    const faults = faultsOf({
      STRIPE_SECRET_KEY: 'sk_test_0123456789abcdef',
      STRIPE_WEBHOOK_SECRET: 'whsec_changeme',
      BFL_API_KEY: undefined,
      BFL_API_BASE: 'http://bfl.internal',
      S3_BUCKET: 'images',
      S3_ACCESS_KEY_ID: 'AKIA',
      S3_SECRET_ACCESS_KEY: 'changeme',
      TRUSTED_PROXIES: undefined,
    });
    expect(faults.map((fault) => fault.split(' ')[0]).sort()).toEqual([
      'BFL_API_BASE',
      'BFL_API_KEY',
      'S3_SECRET_ACCESS_KEY',
      'STRIPE_SECRET_KEY',
      'STRIPE_WEBHOOK_SECRET',
      'TRUSTED_PROXIES',
    ]);
    expect(faults.every((fault) => fault.endsWith('.'))).toBe(true);
  });

  it('warns of every override at every start, also of one that nothing needs any more', () => {
    const lines: { event: string; msg: string }[] = [];
    const stream = new Writable({
      write: (chunk: Buffer, _, done) => {
        lines.push(JSON.parse(chunk.toString()) as (typeof lines)[number]);
        done();
      },
    });
    const unsound = { STRIPE_SECRET_KEY: 'sk_test_0123456789abcdef' };
    const settings = readSettings({
      ...SOUND,
      ...unsound,
      ALLOW_STRIPE_TEST_MODE: 'yes',
      ALLOW_HTTP_PUBLIC_URL: 'yes',
    });
    warnOfOverrides(settings, createLogger('warn', { stream }));
    expect(lines.map(({ event, msg }) => `${event} ${msg}`)).toEqual([
      expect.stringMatching(/^settings\.override ALLOW_STRIPE_TEST_MODE=yes: Stripe runs in test mode/),
      'settings.override ALLOW_HTTP_PUBLIC_URL=yes is not needed; remove it.',
    ]);
  });

  it('has each override explained in .env.example and in the README', () => {
    const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
    for (const { override } of PRODUCTION_RULES) {
      expect(read('.env.example')).toContain(`# ${override}=yes\n`);
      expect(read('README.md')).toContain(`\`${override}\``);
    }
  });
});
