import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { decodeTime } from 'ulid';
import { Inject, Injectable } from '@nestjs/common';
import { isId } from '../../../platform/common/ids.js';
import type { OutputFormat } from '../providers/image-provider.js';
import { formatUtcDate, DAY_MS } from '../../../platform/common/clock.js';
import { type Settings, SETTINGS } from '../../../platform/config/settings.js';
import type { DeliveredImage, StoredGeneration } from '../calls/records/generation.js';

/** Names one stored image. Its path and its content type are derived from these three members. */
export type MediaName = {
  readonly generationId: string;
  readonly position: number;
  readonly format: OutputFormat;
};

/** The format that providers choose by default comes first. */
const FORMATS: readonly OutputFormat[] = ['jpeg', 'png', 'webp'];

export const CONTENT_TYPES: Readonly<Record<OutputFormat, string>> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
};

/** Returns the name of a generation's image; `position` counts the call's images from 0. */
export function toMediaName(
  { id }: { readonly id: string },
  { position, format }: { readonly position: number; readonly format: OutputFormat },
): MediaName {
  return { generationId: id, position, format };
}

/** Returns every name that an image of the call may have: in the requested format, or in any format when none was requested. */
export function possibleMediaNames(
  { id, outputFormat }: { readonly id: string; readonly outputFormat: OutputFormat | null },
  position: number,
): MediaName[] {
  const formats = outputFormat === null ? FORMATS : [outputFormat];
  return formats.map((format) => ({ generationId: id, position, format }));
}

const FILE_PATTERN = /^([0-9])\.(png|jpeg|webp)$/;

/** Returns a name such as `0.png`, made of the image's position in its call and its format. */
export function toFileName({ position, format }: MediaName): string {
  return `${position}.${format}`;
}

/** Returns null unless both parts have exactly the form that is written here, so that no other path can be passed in. */
export function parseMediaName(generationId: string, file: string): MediaName | null {
  const match = FILE_PATTERN.exec(file);
  if (match === null || !isId('generation', generationId)) return null;
  return { generationId, position: Number(match[1]), format: match[2] as OutputFormat };
}

const DAY_PATTERN = /^\d{4}-\d{2}-\d{2}$/;

/** The path of an image in its store: the folder `<day>/<hour and minute>`, and the name of the file. */
export type MediaPath = { readonly folder: string; readonly file: string };

/**
 * Derives the path from the time inside the generation's id. So the path needs no look-up, a folder stays small at any rate of calls,
 * and old images can be deleted by the day.
 */
export function toMediaPath(name: MediaName): MediaPath {
  const { generationId } = name;
  const time = new Date(decodeTime(generationId.slice(generationId.indexOf('_') + 1))).toISOString();
  return {
    folder: `${time.slice(0, 10)}/${time.slice(11, 13)}${time.slice(14, 16)}`,
    file: `${generationId}-${toFileName(name)}`,
  };
}

/** Returns those of the folders whose whole day is before `timeMs`, oldest first. Names that are no day are ignored. */
export function daysBefore(folders: readonly string[], timeMs: number): string[] {
  const keepFrom = formatUtcDate(new Date(timeMs));
  return folders.filter((folder) => DAY_PATTERN.test(folder) && folder < keepFrom).sort();
}

/** Images can be fetched and answers repeated for this long. Receipts and the idempotency keys of calls are never deleted. */
export function retentionMs({ mediaRetentionDays }: Pick<Settings, 'mediaRetentionDays'>): number {
  return mediaRetentionDays * DAY_MS;
}

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
