import type { Readable } from 'node:stream';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { decodeTime } from 'ulid';
import { Inject, Injectable } from '@nestjs/common';
import { type Settings, SETTINGS } from '../../../platform/config/settings.js';
import { isId } from '../../../platform/common/ids.js';
import type { OutputFormat } from '../providers/image-provider.js';
import { formatUtcDate, DAY_MS } from '../../../platform/common/clock.js';
import type { DeliveredImage, StoredGeneration } from '../calls/records/generation.js';

export type StoredImage = { readonly stream: Readable; readonly bytes: number };

/**
 * Stores delivered images. Every method throws `MediaUnavailableError` when the store does not answer in bounded time. No method may
 * be called inside a tx.
 */
export interface MediaStore {
  /**
   * Resolves when the image survives the death of this process or, with `isOnlyCopy`, a crash of the machine, because the provider
   * keeps no copy that could be fetched again. Writing the same name again replaces the image.
   */
  write(name: MediaName, image: Buffer, isOnlyCopy?: boolean): Promise<void>;
  /** Returns null when there is no such image. */
  read(name: MediaName): Promise<Buffer | null>;
  /** Opens an image for an answer that is sent while it is read. The caller has to close the stream. */
  open(name: MediaName): Promise<StoredImage | null>;
  /** Returns the size in bytes; null when there is no such image. */
  getSize(name: MediaName): Promise<number | null>;
  /** Removes an image. It is not an error when there is none. */
  remove(name: MediaName): Promise<void>;
  /**
   * Deletes the images of all generations from days before `timeMs`, or as many as one run of the job may delete; the next run
   * continues. Returns how many days were deleted.
   */
  removeBefore(timeMs: number): Promise<number>;
}

export const MEDIA_STORE = Symbol('MEDIA_STORE');

const DIR_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Files under `$COFFER_DATA_DIR/media/`, placed by `toMediaPath`.
 *
 * A file is written under its final name before it is charged, but it is not flushed. So it survives the death of this process, but a
 * power failure can lose the files of the last half minute. Flushing each file was measured: at 200 images a second every flush makes
 * the file system commit its journal, the ledger's own flushes have to wait, and a call takes several times as long. Instead, the
 * provider has the second copy: it keeps results for ten minutes, and after a reboot `MediaRestorationJob` fetches missing files
 * again. An image of which the provider keeps no copy is flushed. A file that was cut short by a crash is never served: nothing was
 * charged or recorded for it, and recovery verifies each file before it uses it.
 */
export class LocalMediaStore implements MediaStore {
  private readonly root: string;
  /** The last folder that was made, so that only one call a minute has to make one. */
  private lastFolder = '';

  constructor(settings: Pick<Settings, 'dataDir'>) {
    this.root = path.resolve(settings.dataDir, 'media');
  }

  async write(name: MediaName, image: Buffer, isOnlyCopy = false): Promise<void> {
    const file = await this.create(name);
    try {
      await file.writeFile(image);
      if (isOnlyCopy) await file.sync();
    } finally {
      await file.close();
    }
  }

  read(name: MediaName): Promise<Buffer | null> {
    return readFile(this.toPath(name)).catch(nullWhenMissing);
  }

  async open(name: MediaName): Promise<StoredImage | null> {
    const file = await open(this.toPath(name)).catch(nullWhenMissing);
    if (file === null) return null;
    const { size } = await file.stat();
    return { stream: createReadStream('', { fd: file }), bytes: size };
  }

  async getSize(name: MediaName): Promise<number | null> {
    return (await stat(this.toPath(name)).catch(nullWhenMissing))?.size ?? null;
  }

  async remove(name: MediaName): Promise<void> {
    await rm(this.toPath(name), { force: true });
  }

  async removeBefore(timeMs: number): Promise<number> {
    const days = daysBefore((await readdir(this.root).catch(nullWhenMissing)) ?? [], timeMs);
    for (const day of days) await rm(path.join(this.root, day), { recursive: true, force: true });
    return days.length;
  }

  private async create(name: MediaName): Promise<FileHandle> {
    const folder = this.toFolder(name);
    if (folder === this.lastFolder) {
      // Null when the folder was deleted in the meantime.
      const file = await open(this.toPath(name), 'w', FILE_MODE).catch(nullWhenMissing);
      if (file !== null) return file;
    }
    await mkdir(folder, { recursive: true, mode: DIR_MODE });
    this.lastFolder = folder;
    return open(this.toPath(name), 'w', FILE_MODE);
  }

  private toFolder(name: MediaName): string {
    return path.join(this.root, toMediaPath(name).folder);
  }

  private toPath(name: MediaName): string {
    return path.join(this.toFolder(name), toMediaPath(name).file);
  }
}

function nullWhenMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}

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
