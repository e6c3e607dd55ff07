import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import {
  faultsOf,
  readAudit,
  type Lock,
  type LockedPackage,
  type Manifest,
} from '../../scripts/check-dependencies.js';

const read = (file: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));

const GOOD: LockedPackage = { version: '1.0.0', integrity: 'sha512-abc', license: 'MIT' };
const faults = (changes: LockedPackage, manifest: Manifest = {}, name = 'one') =>
  faultsOf(
    { packages: { '': {}, [`node_modules/a/node_modules/${name}`]: { ...GOOD, ...changes } } },
    manifest,
  );

describe('what gets installed', () => {
  it('is bound by a digest, comes by its name, is free to use, and runs no script that is not allowed by name', () => {
    const lock = read('package-lock.json') as Lock;
    expect(faultsOf(lock, read('package.json') as Manifest)).toEqual([]);
    expect(Object.keys(lock.packages).length).toBeGreaterThan(100);
  });

  it.each<[string, LockedPackage, string]>([
    ['without a digest', { integrity: '' }, 'one@1.0.0 has no SHA-512 digest'],
    ['with a weak digest', { integrity: 'sha1-abc' }, 'one@1.0.0 has no SHA-512 digest'],
    [
      'from elsewhere',
      { resolved: 'git+ssh://somewhere/one.git' },
      'one@1.0.0 comes from an address of its own',
    ],
    ['under another license', { license: 'AGPL-3.0-only' }, 'one@1.0.0 has the license AGPL-3.0-only'],
    [
      'under a license and another',
      { license: 'MIT AND GPL-3.0' },
      'one@1.0.0 has the license MIT AND GPL-3.0',
    ],
    ['with a script', { hasInstallScript: true }, 'one@1.0.0 runs a script when it is installed'],
  ])('is refused %s', (_, changes, fault) => {
    expect(faults(changes)).toEqual([expect.stringContaining(fault)]);
  });

  it('is taken with a script that was decided on, an alternative of good licenses, and a library that may be replaced', () => {
    expect(faults({ hasInstallScript: true }, { allowScripts: { one: false } })).toEqual([]);
    expect(faults({ license: '(MIT OR CC0-1.0)' })).toEqual([]);
    expect(faults({ license: 'LGPL-3.0-or-later' }, {}, '@img/sharp-libvips-linux-x64')).toEqual([]);
    expect(faults({ license: 'LGPL-3.0-or-later' })).toHaveLength(1);
  });
});

describe('the oldest Node that we name', () => {
  const faultsWith = (node: string) => faults({ engines: { node } }, { engines: { node: '>=20.19' } });

  it('is enough for all that gets installed: npm warns of nothing', () => {
    const lock = read('package-lock.json') as Lock;
    expect(lock.packages['']?.engines?.node).toBe((read('package.json') as Manifest).engines?.node);
    expect(faultsOf(lock, read('package.json') as Manifest)).toEqual([]);
  });

  it.each([
    '>=18',
    '>= 20.19.0',
    '^20.19.0 || ^22.12.0 || >=24.0.0',
    '>=22.12.0 || >=20.19.0 <21.0.0',
    '18 || 20 || >=22',
    '6.* || 20.x',
    '20.19',
  ])('is accepted by %s', (node) => {
    expect(faultsWith(node)).toEqual([]);
  });

  it.each(['>=22', '^20.19.1 || >=22', '>=20.0.0 <20.19.0', '20.9', '^18.20 || 22', '~20.19.0'])(
    'is refused by %s',
    (node) => {
      expect(faultsWith(node)).toEqual([
        expect.stringContaining(`one@1.0.0 wants Node ${node}, and ours may be`),
      ]);
    },
  );
});

describe('an audit', () => {
  it.each([
    ['clean', '{"metadata":{"vulnerabilities":{"info":0,"low":2,"moderate":0,"high":0,"critical":0}}}'],
    ['vulnerable', '{"metadata":{"vulnerabilities":{"low":0,"moderate":1,"high":0,"critical":0}}}'],
    ['unanswered', '{"message":"405 Method Not Allowed","statusCode":405}'],
    ['unanswered', ''],
  ])('is %s when npm prints %s', (verdict, printed) => {
    expect(readAudit(printed)).toBe(verdict);
  });
});
