import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import type { DeliveredImage, StoredGeneration } from '../calls/records/generation.js';
import { toFileName, toMediaName, type MediaName, retentionMs } from './media-name.js';

/** OpenAI promises that a result's URL works for 60 minutes. */
export const URL_VALID_SECONDS = 60 * 60;

const SIGNING_KEY_BYTES = 32;
const HKDF_INFO = 'coffer media url v1';
const EXPIRES_PATTERN = /^[1-9]\d{9,10}$/;

type SigningKey = { readonly id: string; readonly key: Buffer };

/**
 * Signs and checks the URLs of stored images. Any client that has a URL may fetch that one image until it expires, without an API key
 * or a look-up. The signing keys are derived from the master keys and are rotated with them; a URL that was signed with an older key
 * works until it expires.
 */
@Injectable()
export class MediaSigner {
  /** The keys, newest first; never empty. */
  private readonly keys: readonly SigningKey[];
  private readonly baseUrl: string;
  private readonly retentionMs: number;

  constructor(@Inject(SETTINGS) settings: Settings) {
    const masterKeys = settings.masterKeys.length > 0 ? settings.masterKeys : [ephemeralKey()];
    this.keys = masterKeys.map(({ id, key }) => ({
      id,
      key: Buffer.from(hkdfSync('sha256', key, '', HKDF_INFO, SIGNING_KEY_BYTES)),
    }));
    this.retentionMs = retentionMs(settings);
    this.baseUrl = new URL('/v1/media', settings.publicUrl ?? `http://127.0.0.1:${settings.port}`).href;
  }

  /** The id of the current key, which has to be stored so that the same URL can be signed again later. */
  get keyId(): string {
    return this.keys[0]?.id ?? '';
  }

  /** Signs a URL. The same arguments give the same URL. If the key `keyId` no longer exists, the newest key is used. */
  signUrl(name: MediaName, expiresAtSeconds: number, keyId: string): string {
    const key = this.keys.find((candidate) => candidate.id === keyId) ?? this.keys[0];
    if (key === undefined) throw new Error('there is always a signing key');
    const signature = sign(key, name, String(expiresAtSeconds)).toString('base64url');
    const query = `expires=${expiresAtSeconds}&signature=${signature}`;
    return `${this.baseUrl}/${name.generationId}/${toFileName(name)}?${query}`;
  }

  /** Signs a URL for a receipt, valid for 60 minutes from now; null when the image was deleted or is past its retention time. */
  signFreshUrl(generation: StoredGeneration, image: DeliveredImage, nowMs: number): string | null {
    const isPast = nowMs - generation.createdAtMs >= this.retentionMs;
    if (isPast || generation.imagesDeletedAtMs !== null) return null;
    const expires = Math.floor(nowMs / 1_000) + URL_VALID_SECONDS;
    return this.signUrl(toMediaName(generation, image), expires, this.keyId);
  }

  /** Returns how many seconds the URL is still valid; null when it is forged or has expired. */
  secondsLeft(name: MediaName, expires: unknown, signature: unknown, nowMs: number): number | null {
    if (typeof expires !== 'string' || typeof signature !== 'string' || !EXPIRES_PATTERN.test(expires)) {
      return null;
    }
    const given = Buffer.from(signature, 'base64url');
    const isOurs = this.keys.some((key) => equal(given, sign(key, name, expires)));
    const left = Number(expires) - Math.floor(nowMs / 1_000);
    return isOurs && left > 0 ? left : null;
  }
}

function sign({ key }: SigningKey, name: MediaName, expires: string): Buffer {
  return createHmac('sha256', key)
    .update(`${name.generationId}\n${toFileName(name)}\n${expires}`)
    .digest();
}

function equal(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Production requires master keys. Without any, a random key is used, and URLs work until this process ends. */
function ephemeralKey(): SigningKey {
  return { id: 'ephemeral', key: randomBytes(SIGNING_KEY_BYTES) };
}
