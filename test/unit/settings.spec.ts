import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { InvalidSettingsError } from '../../src/platform/config/environment-reader.js';
import { PRODUCTION_RULES } from '../../src/platform/config/production-rules.js';
import { readSettings } from '../../src/platform/config/settings.js';

const read = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');

/** The names that the code asks the environment for. */
const known = new Set([
  ...[
    ...read('src/platform/config/settings.ts').matchAll(
      /\b(?:read\.[a-zA-Z]+|amount)\(\s*'([A-Z][A-Z0-9_]+)'/g,
    ),
  ].map(([, name]) => name),
  ...PRODUCTION_RULES.map(({ override }) => override),
]);

describe('the settings', () => {
  it('are all explained in .env.example, and nothing else is', () => {
    const explained = [...read('.env.example').matchAll(/^#? ?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name);
    expect(known.size).toBeGreaterThan(20);
    expect(explained.sort()).toEqual([...known].sort());
  });

  it('are all in the table of the README', () => {
    const readme = read('README.md');
    expect([...known].filter((name) => name !== 'NODE_ENV' && !readme.includes(`\`${name}\``))).toEqual([]);
  });

  it('can be left out altogether: a newcomer sets nothing', () => {
    const settings = readSettings({});
    expect(settings).toMatchObject({
      environment: 'development',
      host: '127.0.0.1',
      port: 3000,
      databaseUrl: null,
    });
    expect(settings).toMatchObject({ stripe: null, blackForestLabs: null, trustedProxies: [] });
  });

  it('name every bad variable at once, and never its value', () => {
    const faults = (env: Record<string, string>): readonly string[] => {
      try {
        readSettings(env);
        return [];
      } catch (error) {
        return error instanceof InvalidSettingsError ? error.faults : [String(error)];
      }
    };
    const found = faults({
      PORT: '99999',
      PUBLIC_URL: 'ftp://nowhere',
      TRUSTED_PROXIES: '10.0.0.0/33, everybody',
      SHUTDOWN_DELAY_SECONDS: '1.5',
      LOG_LEVEL: 'loud',
      STRIPE_SECRET_KEY: 'pk_live_publishable',
      COFFER_MASTER_KEYS: 'short:AAAA',
    });
    expect(found.map((fault) => fault.split(' ')[0]).sort()).toEqual([
      'COFFER_MASTER_KEYS',
      'LOG_LEVEL',
      'PORT',
      'PUBLIC_URL',
      'SHUTDOWN_DELAY_SECONDS',
      'STRIPE_SECRET_KEY',
      'STRIPE_WEBHOOK_SECRET',
      'TRUSTED_PROXIES',
    ]);
    expect(found.join()).not.toMatch(/ftp:|everybody|loud|pk_live|AAAA/);
  });

  it('keep images in the data directory for a week, or in a bucket over a whole access key, never half of one', () => {
    expect(readSettings({})).toMatchObject({ s3: null, mediaRetentionDays: 7 });
    const bucket = { S3_BUCKET: 'images', S3_PREFIX: '/coffer/' };
    expect(readSettings(bucket).s3).toEqual({
      bucket: 'images',
      region: 'us-east-1',
      endpoint: null,
      accessKey: null,
      prefix: 'coffer/',
    });
    const key = { S3_ACCESS_KEY_ID: 'AKIA', S3_SECRET_ACCESS_KEY: 'secret of that key' };
    expect(readSettings({ ...bucket, ...key }).s3?.accessKey).toEqual({
      id: 'AKIA',
      secret: 'secret of that key',
    });
    for (const bad of [{ S3_ACCESS_KEY_ID: 'AKIA' }, { S3_BUCKET: 'No Bucket' }, { S3_PREFIX: 'a b' }]) {
      expect(() => readSettings({ ...bucket, ...bad })).toThrow(InvalidSettingsError);
    }
  });

  it('send an OpenAI-compatible server the headers that they name, and none that the request writes itself', () => {
    const server = {
      OPENAI_COMPATIBLE_API_BASE: 'https://x.example/v1',
      OPENAI_COMPATIBLE_API_KEY: 'oai_0123456789',
    };
    const read = (headers: string) => readSettings({ ...server, OPENAI_COMPATIBLE_HEADERS: headers });
    expect(read('{"X-Provider": "openai"}').openAiCompatible?.headers).toEqual({ 'x-provider': 'openai' });
    for (const bad of [
      'x-provider: openai',
      '["x"]',
      '{"a b": "c"}',
      '{"x": 1}',
      '{"x": "a\\nb"}',
      '{"x": ""}',
      '{"Authorization": "Bearer y"}',
      '{"host": "elsewhere.example"}',
    ]) {
      expect(() => read(bad)).toThrow(/OPENAI_COMPATIBLE_HEADERS must be/);
    }
  });

  it('fetch the results of an OpenAI-compatible server from hosts that they name, with https unless they say otherwise', () => {
    const server = {
      OPENAI_COMPATIBLE_API_BASE: 'https://x.example/v1',
      OPENAI_COMPATIBLE_API_KEY: 'oai_0123456789',
    };
    const read = (hosts: string) => readSettings({ ...server, OPENAI_COMPATIBLE_RESULT_HOSTS: hosts });
    const origins = (hosts: string) => read(hosts).openAiCompatible?.resultHosts.map(({ origin }) => origin);
    expect(origins('cdn.example, http://10.0.0.7:9000')).toEqual([
      'https://cdn.example',
      'http://10.0.0.7:9000',
    ]);
    expect(readSettings(server).openAiCompatible?.resultHosts).toEqual([]);
    for (const bad of ['https://cdn.example/path', 'ftp://cdn.example', 'https://user@cdn.example', '*']) {
      expect(() => read(bad)).toThrow(/OPENAI_COMPATIBLE_RESULT_HOSTS must be/);
    }
  });

  it('take the addresses of proxies', () => {
    const { trustedProxies } = readSettings({ TRUSTED_PROXIES: ' 10.0.0.0/8, 192.168.1.7 ,fd00::/8,::1' });
    expect(trustedProxies).toEqual(['10.0.0.0/8', '192.168.1.7', 'fd00::/8', '::1']);
  });
});
