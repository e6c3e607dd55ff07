import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { crc32 } from 'node:zlib';
import {
  API_KEY_PATTERN,
  apiKeyHint,
  hashApiKey,
  makeApiKey,
  parseApiKey,
} from '../../src/identity/auth/credentials.js';
import { ACCOUNT_SCOPES, getScopeKind, OPERATOR_SCOPES } from '../../src/identity/auth/principal.js';
import { checkProperty } from '../support/property.js';

const kinds = fc.constantFrom('account_key' as const, 'operator_key' as const);
const entropies = fc.uint8Array({ minLength: 32, maxLength: 32 });
const keys = fc.tuple(kinds, entropies).map(([kind, entropy]) => makeApiKey(kind, entropy));
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

function fromBase62(text: string): bigint {
  return [...text].reduce((value, digit) => value * 62n + BigInt(DIGITS.indexOf(digit)), 0n);
}

describe('an API key', () => {
  it('carries all 256 random bits, its kind, and a CRC-32 of everything before it', async () => {
    await checkProperty(
      'a key carries its bits',
      fc.property(kinds, entropies, (kind, entropy) => {
        const key = makeApiKey(kind, entropy);
        expect(key).toMatch(API_KEY_PATTERN);
        expect(key).toHaveLength(56);
        expect(key.startsWith(kind === 'account_key' ? 'sk-cof-' : 'op-cof-')).toBe(true);
        expect(fromBase62(key.slice(7, 50))).toBe(BigInt(`0x${Buffer.from(entropy).toString('hex')}`));
        expect(fromBase62(key.slice(50))).toBe(BigInt(crc32(key.slice(0, 50))));
        expect(parseApiKey(key)).toBe(kind);
      }),
      { runs: 300 },
    );
  });

  it('fits 43 digits at its largest and keeps its zeros at its smallest', () => {
    expect(parseApiKey(makeApiKey('account_key', new Uint8Array(32).fill(255)))).toBe('account_key');
    expect(makeApiKey('account_key', new Uint8Array(32))).toMatch(/^sk-cof-0{43}[0-9A-Za-z]{6}$/);
  });

  it('is made of fresh randomness', () => {
    const made = new Set(Array.from({ length: 1_000 }, () => makeApiKey('account_key')));
    expect(made.size).toBe(1_000);
    expect(() => makeApiKey('account_key', new Uint8Array(16))).toThrow(RangeError);
  });

  it('is spelled the same permanently: issued keys have to remain valid', () => {
    const entropy = Uint8Array.from({ length: 32 }, (_, index) => index);
    expect(makeApiKey('account_key', entropy)).toBe(
      'sk-cof-003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf48Mkh3',
    );
    expect(makeApiKey('operator_key', entropy)).toBe(
      'op-cof-003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf15yOQw',
    );
    expect(hashApiKey('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

describe('a text that was never issued', () => {
  it('is refused without a look-up after any change of a single character', async () => {
    const changed = fc.tuple(keys, fc.nat(55), fc.constantFrom(...DIGITS, '-', '_', ' ', 'é', '\0'));
    await checkProperty(
      'one changed character is refused',
      fc.property(changed, ([key, index, digit]) => {
        fc.pre(key[index] !== digit);
        expect(parseApiKey(key.slice(0, index) + digit + key.slice(index + 1))).toBeNull();
      }),
      { runs: 2_000 },
    );
  });

  it('is refused when two characters changed places, or some were lost, doubled or added', async () => {
    const edits = fc.tuple(
      keys,
      fc.nat(54),
      fc.constantFrom('swap', 'drop', 'double', 'add', 'cut'),
      fc.string(),
    );
    await checkProperty(
      'an edited key is refused',
      fc.property(edits, ([key, index, edit, extra]) => {
        const [before, a = '', b = '', after] = [
          key.slice(0, index),
          key[index],
          key[index + 1],
          key.slice(index + 2),
        ];
        const text = {
          swap: before + b + a + after,
          drop: before + b + after,
          double: before + a + a + b + after,
          add: key + (extra || ' '),
          cut: key.slice(0, index),
        }[edit];
        fc.pre(text !== key);
        expect(parseApiKey(text)).toBeNull();
      }),
      { runs: 2_000 },
    );
  });

  it('is refused when an account key is passed off as an operator key', async () => {
    await checkProperty(
      'another prefix is refused',
      fc.property(entropies, (entropy) => {
        const key = makeApiKey('account_key', entropy);
        expect(parseApiKey(key.replace('sk-', 'op-'))).toBeNull();
      }),
      { runs: 100 },
    );
  });

  it('is refused whatever it is', async () => {
    await checkProperty(
      'a random text is refused',
      fc.property(fc.string({ maxLength: 300 }), (text) => expect(parseApiKey(text)).toBeNull()),
      { runs: 500 },
    );
    for (const text of ['', 'sk-cof-', 'Bearer', `${makeApiKey('account_key')}\n`, 'sk-'.repeat(100_000)]) {
      expect(parseApiKey(text)).toBeNull();
    }
  });
});

describe('what is kept of a key', () => {
  it('is a hint with none of its random digits', async () => {
    await checkProperty(
      'a hint shows no secret',
      fc.property(keys, (key) => {
        expect(apiKeyHint(key)).toBe(`${key.slice(0, 7)}…${key.slice(-4)}`);
        expect(apiKeyHint(key)).toHaveLength(12);
      }),
      { runs: 100 },
    );
  });
});

describe('scopes', () => {
  it('belong to one kind of key each, so that a scope alone determines the kind', () => {
    expect(ACCOUNT_SCOPES.filter((scope) => (OPERATOR_SCOPES as readonly string[]).includes(scope))).toEqual(
      [],
    );
    for (const scope of ACCOUNT_SCOPES) expect(getScopeKind(scope)).toBe('account_key');
    for (const scope of OPERATOR_SCOPES) expect(getScopeKind(scope)).toBe('operator_key');
  });
});
