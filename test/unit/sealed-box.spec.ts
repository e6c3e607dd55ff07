import { randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { SealBrokenError, SealedBox } from '../../src/platform/common/sealed-box.js';

const SECRET = Buffer.from('whsec_the secret of this test');
const ROW = 'webhook_endpoints/acct_a/we_1';
const older = { id: 'older', key: randomBytes(32) };
const newer = { id: 'newer', key: randomBytes(32) };

describe('a sealed box', () => {
  it('opens to the very bytes that were sealed, and shows none of them', () => {
    const box = new SealedBox([newer], 'test');
    for (const secret of [SECRET, Buffer.alloc(0), randomBytes(10_000)]) {
      const sealed = box.seal(secret, ROW);
      expect(box.open(sealed, ROW).equals(secret)).toBe(true);
      if (secret.length > 0) expect(sealed.box.includes(secret.subarray(0, 8))).toBe(false);
    }
  });

  it('never has the same bytes twice', () => {
    const box = new SealedBox([newer], 'test');
    const boxes = Array.from({ length: 100 }, () => box.seal(SECRET, ROW).box.toString('hex'));
    expect(new Set(boxes).size).toBe(100);
  });

  it('opens in no other row, for no other purpose and with no other key', () => {
    const sealed = new SealedBox([newer], 'test').seal(SECRET, ROW);
    expect(() => new SealedBox([newer], 'test').open(sealed, 'webhook_endpoints/acct_b/we_1')).toThrow(
      SealBrokenError,
    );
    expect(() => new SealedBox([newer], 'other').open(sealed, ROW)).toThrow(SealBrokenError);
    const impostor = { id: newer.id, key: randomBytes(32) };
    expect(() => new SealedBox([impostor], 'test').open(sealed, ROW)).toThrow(SealBrokenError);
    const renamed = { id: 'other', key: newer.key };
    expect(() => new SealedBox([renamed], 'test').open({ ...sealed, keyId: 'other' }, ROW)).toThrow(
      SealBrokenError,
    );
  });

  it('opens in no changed form: not with any single bit turned, cut short or made longer', () => {
    const box = new SealedBox([newer], 'test');
    const { keyId, box: bytes } = box.seal(SECRET, ROW);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => box.open({ keyId, box: changed }, ROW)).toThrow(SealBrokenError);
    }
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => box.open({ keyId, box: bytes.subarray(0, length) }, ROW)).toThrow(SealBrokenError);
    }
    expect(() => box.open({ keyId, box: Buffer.concat([bytes, Buffer.of(0)]) }, ROW)).toThrow(
      SealBrokenError,
    );
  });

  it('is sealed with the newest key and opened with any that is left', () => {
    const before = new SealedBox([older], 'test').seal(SECRET, ROW);
    const rotated = new SealedBox([newer, older], 'test');
    expect(rotated.open(before, ROW).equals(SECRET)).toBe(true);
    expect(rotated.isNewest(before)).toBe(false);
    const after = rotated.seal(SECRET, ROW);
    expect(after.keyId).toBe('newer');
    expect(rotated.isNewest(after)).toBe(true);
    const retired = new SealedBox([newer], 'test');
    expect(retired.open(after, ROW).equals(SECRET)).toBe(true);
    expect(() => retired.open(before, ROW)).toThrow("no key 'older'");
  });

  it('is never made without a master key', () => {
    expect(() => new SealedBox([], 'test').seal(SECRET, ROW)).toThrow('COFFER_MASTER_KEYS');
  });
});
