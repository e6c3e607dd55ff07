import { randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import type { MasterKey, Settings } from '../../src/platform/config/settings.js';
import { parseMediaName, type MediaName, MediaSigner } from '../../src/gateway/images/media/media-store.js';

const NOW_MS = Date.UTC(2026, 10, 1);
const EXPIRES = NOW_MS / 1_000 + 3_600;
const older: MasterKey = { id: 'older', key: randomBytes(32) };
const newer: MasterKey = { id: 'newer', key: randomBytes(32) };
const name: MediaName = { generationId: newId('generation'), position: 3, format: 'png' };

function signer(...masterKeys: MasterKey[]): MediaSigner {
  return new MediaSigner({
    masterKeys,
    publicUrl: new URL('https://coffer.test/'),
    port: 1,
  } as unknown as Settings);
}

function partsOf(url: string): { expires: string; signature: string } {
  const { searchParams } = new URL(url);
  return { expires: searchParams.get('expires') ?? '', signature: searchParams.get('signature') ?? '' };
}

describe('a signed image URL', () => {
  const { expires, signature } = partsOf(signer(newer).signUrl(name, EXPIRES, 'newer'));

  it('works until the second it expires', () => {
    expect(signer(newer).secondsLeft(name, expires, signature, NOW_MS)).toBe(3_600);
    expect(signer(newer).secondsLeft(name, expires, signature, EXPIRES * 1_000 - 1)).toBe(1);
    expect(signer(newer).secondsLeft(name, expires, signature, EXPIRES * 1_000)).toBeNull();
  });

  it.each([
    ['another image', { ...name, position: 4 }, expires, signature],
    ['another format', { ...name, format: 'webp' as const }, expires, signature],
    ['another generation', { ...name, generationId: newId('generation') }, expires, signature],
    ['a later expiry', name, String(EXPIRES + 1), signature],
    ['another spelling of the expiry', name, `0${expires}`, signature],
    ['a float', name, `${expires}.0`, signature],
    ['no signature', name, expires, undefined],
    ['an empty signature', name, expires, ''],
    ['a shortened signature', name, expires, signature.slice(0, -2)],
    ['two signatures', name, expires, [signature, signature]],
  ])('is worth nothing for %s', (_what, forName, forExpiry, withSignature) => {
    expect(signer(newer).secondsLeft(forName, forExpiry, withSignature, NOW_MS)).toBeNull();
  });

  it('is worth nothing under another master key', () => {
    expect(signer(older).secondsLeft(name, expires, signature, NOW_MS)).toBeNull();
  });

  it('survives the rotation of the master keys, and can be repeated to the byte after it', () => {
    const before = signer(older).signUrl(name, EXPIRES, signer(older).keyId);
    const rotated = signer(newer, older);
    const parts = partsOf(before);
    expect(rotated.keyId).toBe('newer');
    expect(rotated.secondsLeft(name, parts.expires, parts.signature, NOW_MS)).toBe(3_600);
    expect(rotated.signUrl(name, EXPIRES, 'older')).toBe(before);
    expect(rotated.signUrl(name, EXPIRES, 'gone')).toBe(rotated.signUrl(name, EXPIRES, 'newer'));
  });

  it('is not signed with the master key itself', () => {
    const url = signer(newer).signUrl(name, EXPIRES, 'newer');
    expect(url.startsWith(`https://coffer.test/v1/media/${name.generationId}/3.png?`)).toBe(true);
    expect(url).not.toContain(newer.key.toString('base64url'));
  });
});

describe('the name of a stored image', () => {
  it.each([
    [name.generationId, '../../../etc/passwd'],
    [name.generationId, '0.png/../1.png'],
    [name.generationId, '10.png'],
    [name.generationId, '0.svg'],
    [name.generationId, '0.PNG'],
    [name.generationId, '0.png\0'],
    [`../${name.generationId}`, '0.png'],
    ['..', '0.png'],
    [name.generationId.toLowerCase(), '0.png'],
    [`${name.generationId}/`, '0.png'],
  ])('is never read out of %p and %p', (generation, file) => {
    expect(parseMediaName(generation, file)).toBeNull();
  });

  it('is read back as it was written', () => {
    expect(parseMediaName(name.generationId, '3.png')).toEqual(name);
  });
});
