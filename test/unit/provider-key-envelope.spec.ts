import { randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { MasterKeyMissingError, SealBrokenError } from '../../src/platform/common/sealed-box.js';
import {
  EnvelopeService,
  type SealedSecret,
} from '../../src/gateway/provider-keys/encryption/envelope.service.js';
import { LocalKeyEncryption } from '../../src/gateway/provider-keys/encryption/local-key-encryption.js';
import { toBinding } from '../../src/gateway/provider-keys/provider-key.js';

const SECRET = Buffer.from('bfl_0123456789abcdef0123456789abcdef');
const NAME = { accountId: 'acct_a', provider: 'black_forest_labs', id: 'pk_1' } as const;
const ROW = toBinding(NAME);
const older = { id: 'older', key: randomBytes(32) };
const newer = { id: 'newer', key: randomBytes(32) };

const envelopeOf = (...masterKeys: { id: string; key: Buffer }[]): EnvelopeService =>
  new EnvelopeService(new LocalKeyEncryption({ masterKeys }));

describe('an envelope', () => {
  it('opens to the very bytes that were sealed, and shows none of them', async () => {
    const envelope = envelopeOf(newer);
    const sealed = await envelope.seal(SECRET, ROW);
    expect((await envelope.open(sealed, ROW)).equals(SECRET)).toBe(true);
    for (const part of [sealed.ciphertext, sealed.wrappedKey]) {
      expect(part.includes(SECRET.subarray(0, 6))).toBe(false);
    }
  });

  it('has a data key of its own for every secret: no two look alike, and none opens another', async () => {
    const envelope = envelopeOf(newer);
    const [one, other] = [await envelope.seal(SECRET, ROW), await envelope.seal(SECRET, ROW)];
    expect(one.ciphertext.equals(other.ciphertext)).toBe(false);
    expect(one.wrappedKey.equals(other.wrappedKey)).toBe(false);
    const mixed = { ...one, ciphertext: other.ciphertext };
    await expect(envelope.open(mixed, ROW)).rejects.toThrow(SealBrokenError);
  });

  it.each(['ciphertext', 'wrappedKey'] as const)(
    'does not open with any byte of its %s changed, cut off or added: version, nonce, tag and text alike',
    async (part) => {
      const envelope = envelopeOf(newer);
      const sealed = await envelope.seal(SECRET, ROW);
      const bytes = sealed[part];
      const changed = Array.from({ length: bytes.length }, (_, index) => {
        const copy = Buffer.from(bytes);
        copy[index] = (copy[index] ?? 0) ^ 0x01;
        return copy;
      });
      const cut = Array.from({ length: bytes.length }, (_, length) => bytes.subarray(0, length));
      const forged = [...changed, ...cut, Buffer.concat([bytes, Buffer.of(0)])];
      const opened = await Promise.allSettled(
        forged.map((copy) => envelope.open({ ...sealed, [part]: copy }, ROW)),
      );
      expect(opened.filter(({ status }) => status === 'fulfilled')).toEqual([]);
      expect(forged.length).toBeGreaterThan(100);
    },
  );

  it.each([
    ['account', { ...NAME, accountId: 'acct_b' }],
    ['id', { ...NAME, id: 'pk_2' }],
    ['provider', { ...NAME, provider: 'another' as never }],
  ])('does not open in the row of another %s, not even half of it', async (_what, elsewhere) => {
    const envelope = envelopeOf(newer);
    const sealed = await envelope.seal(SECRET, ROW);
    const there = await envelope.seal(SECRET, toBinding(elsewhere));
    await expect(envelope.open(sealed, toBinding(elsewhere))).rejects.toThrow(SealBrokenError);
    const swapped: SealedSecret = { ...there, ciphertext: sealed.ciphertext };
    await expect(envelope.open(swapped, toBinding(elsewhere))).rejects.toThrow(SealBrokenError);
    const wrapped: SealedSecret = { ...there, wrappedKey: sealed.wrappedKey };
    await expect(envelope.open(wrapped, toBinding(elsewhere))).rejects.toThrow(SealBrokenError);
  });

  it('names the master key that is missing, and takes no other one in its place', async () => {
    const sealed = await envelopeOf(older).seal(SECRET, ROW);
    await expect(envelopeOf(newer).open(sealed, ROW)).rejects.toMatchObject({ keyId: 'older' });
    await expect(envelopeOf(newer).open(sealed, ROW)).rejects.toBeInstanceOf(MasterKeyMissingError);
    const impostor = { id: 'older', key: randomBytes(32) };
    await expect(envelopeOf(impostor).open(sealed, ROW)).rejects.toThrow(SealBrokenError);
    await expect(envelopeOf(newer).open({ ...sealed, masterKeyId: 'newer' }, ROW)).rejects.toThrow(
      SealBrokenError,
    );
  });

  it('is wrapped again without its secret being touched, and the old master key may go', async () => {
    const before = await envelopeOf(older).seal(SECRET, ROW);
    const after = await envelopeOf(newer, older).rewrap(before, ROW);
    expect(after.masterKeyId).toBe('newer');
    expect(after.ciphertext.equals(before.ciphertext)).toBe(true);
    expect((await envelopeOf(newer).open(after, ROW)).equals(SECRET)).toBe(true);
    await expect(
      envelopeOf(newer, older).rewrap(before, toBinding({ ...NAME, accountId: 'acct_b' })),
    ).rejects.toThrow(SealBrokenError);
  });

  it('is never made without a master key', async () => {
    await expect(envelopeOf().seal(SECRET, ROW)).rejects.toThrow('COFFER_MASTER_KEYS');
  });
});
