import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { S3Settings } from '../../../platform/config/settings.js';
import { MediaUnavailableError } from '../calls/generation.errors.js';
import {
  CONTENT_TYPES,
  type MediaName,
  daysBefore,
  toMediaPath,
  type MediaStore,
  type StoredImage,
} from './media-store.js';

export type S3Limits = {
  readonly connectTimeoutMs: number;
  /** The longest silence on a connection, after which a stalled body ends. */
  readonly silenceMaxMs: number;
  /** The time for one operation, all attempts together. */
  readonly operationMs: number;
  readonly attemptsMax: number;
  /** Connections for storing images and for downloads, each. */
  readonly socketsMax: number;
  /** The time for one run of the retention job, which runs again within the hour. */
  readonly removalMs: number;
};

/** S3 usually needs a few hundred milliseconds for an image. A call waits here for 15 s at most, far below its own deadline. */
export const s3Limits: S3Limits = {
  connectTimeoutMs: 2_000,
  silenceMaxMs: 10_000,
  operationMs: 15_000,
  attemptsMax: 3,
  socketsMax: 128,
  removalMs: 10 * 60_000,
};

/** S3 lists and deletes at most this many objects in one request. */
const BATCH_MAX = 1_000;
/** No stored image is larger (`verifyImage` limits the pixels), so no larger object is read into memory. */
const READ_BYTES_MAX = 64 * 1_024 * 1_024;

/**
 * Stores images as objects `<prefix><day>/<hour and minute>/<generation>-<position>.<format>` of a private bucket. S3 answers 200 when
 * an image is stored on several machines, so it survives a crash of this one. Each image is sent with its MD5, which every S3 server
 * compares before it accepts the image; Amazon's newer checksums are not used, because some servers do not know them.
 *
 * Downloads have separate connections. They last as long as their clients are slow, and must not delay the images of paid calls.
 *
 * Errors of the SDK are not passed on, because they are logged and some contain signed data and the id of the access key.
 */
export class S3MediaStore implements MediaStore, OnApplicationBootstrap, OnApplicationShutdown {
  private readonly logger = new Logger(S3MediaStore.name);
  private readonly client: S3Client;
  private readonly downloads: S3Client;

  constructor(
    private readonly settings: S3Settings,
    private readonly limits: S3Limits = s3Limits,
  ) {
    this.client = new S3Client(clientConfig(settings, limits));
    this.downloads = new S3Client(clientConfig(settings, limits));
  }

  /** Reports a wrong bucket or key at the start instead of at the first call. The service starts nevertheless, so that S3 can be fixed. */
  onApplicationBootstrap(): void {
    this.listDays().catch((error: unknown) => {
      const event = 'media.store_unavailable';
      this.logger.error(
        { event, err: error },
        'The image store cannot be used; check the bucket and the access key',
      );
    });
  }

  onApplicationShutdown(): void {
    this.client.destroy();
    this.downloads.destroy();
  }

  async write(name: MediaName, image: Buffer): Promise<void> {
    const put = new PutObjectCommand({
      ...this.toObjectKey(name),
      Body: image,
      ContentLength: image.length,
      ContentType: CONTENT_TYPES[name.format],
      ContentMD5: createHash('md5').update(image).digest('base64'),
    });
    await this.ask('store an image', (abortSignal) => this.client.send(put, { abortSignal }));
  }

  read(name: MediaName): Promise<Buffer | null> {
    return this.ask('read an image', async (signal) => {
      const found = await this.get(this.client, name, signal);
      if (found === null) return null;
      const { stream, bytes } = found;
      signal.addEventListener('abort', () => stream.destroy(new Error('it took too long')), { once: true });
      if (bytes > READ_BYTES_MAX) {
        stream.destroy();
        throw new Error('it is no image of ours');
      }
      const image = await buffer(stream);
      if (image.length !== bytes) throw new Error('it was cut short');
      return image;
    });
  }

  open(name: MediaName): Promise<StoredImage | null> {
    return this.ask('open an image', (signal) => this.get(this.downloads, name, signal));
  }

  getSize(name: MediaName): Promise<number | null> {
    const head = new HeadObjectCommand(this.toObjectKey(name));
    return this.ask('look for an image', async (abortSignal) => {
      const found = await this.client.send(head, { abortSignal }).catch(nullWhenMissing);
      return found?.ContentLength ?? null;
    });
  }

  async remove(name: MediaName): Promise<void> {
    const remove = new DeleteObjectCommand(this.toObjectKey(name));
    await this.ask('delete an image', (abortSignal) =>
      this.client.send(remove, { abortSignal }).catch(nullWhenMissing),
    );
  }

  async removeBefore(timeMs: number): Promise<number> {
    const endMs = performance.now() + this.limits.removalMs;
    let removed = 0;
    for (const day of daysBefore(await this.listDays(), timeMs)) {
      while (await this.removeBatch(`${this.settings.prefix}${day}/`)) {
        if (performance.now() > endMs) return removed;
      }
      removed += 1;
    }
    return removed;
  }

  private async get(
    client: S3Client,
    name: MediaName,
    abortSignal: AbortSignal,
  ): Promise<StoredImage | null> {
    const get = new GetObjectCommand(this.toObjectKey(name));
    const found = await client.send(get, { abortSignal }).catch(nullWhenMissing);
    if (found === null) return null;
    if (found.Body === undefined || found.ContentLength === undefined) throw new Error('it has no length');
    return { stream: found.Body as Readable, bytes: found.ContentLength };
  }

  private async listDays(): Promise<string[]> {
    const { bucket: Bucket, prefix: Prefix } = this.settings;
    const days: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const list = new ListObjectsV2Command({ Bucket, Prefix, Delimiter: '/', ContinuationToken });
      const page = await this.ask('list days', (abortSignal) => this.client.send(list, { abortSignal }));
      days.push(...(page.CommonPrefixes ?? []).map((found) => found.Prefix?.slice(Prefix.length, -1) ?? ''));
      ContinuationToken = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (ContinuationToken !== undefined);
    return days;
  }

  /** Returns false when nothing is left. Listed objects are deleted before the next ones are listed, so no page token is needed. */
  private async removeBatch(prefix: string): Promise<boolean> {
    const { bucket: Bucket } = this.settings;
    const list = new ListObjectsV2Command({ Bucket, Prefix: prefix, MaxKeys: BATCH_MAX });
    const page = await this.ask('list images', (abortSignal) => this.client.send(list, { abortSignal }));
    const objects = (page.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [{ Key }]));
    if (objects.length === 0) return false;
    const remove = new DeleteObjectsCommand({ Bucket, Delete: { Objects: objects, Quiet: true } });
    await this.ask('delete images', async (abortSignal) => {
      const { Errors: refused = [] } = await this.client.send(remove, { abortSignal });
      // An object that can never be deleted would be listed again and again.
      if (refused.length > 0) throw new Error(`${refused.length} were refused, with ${refused[0]?.Code}`);
    });
    return page.IsTruncated === true;
  }

  private toObjectKey(name: MediaName): { Bucket: string; Key: string } {
    const { folder, file } = toMediaPath(name);
    return { Bucket: this.settings.bucket, Key: `${this.settings.prefix}${folder}/${file}` };
  }

  private async ask<T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), this.limits.operationMs);
    try {
      return await work(deadline.signal);
    } catch (error) {
      throw new MediaUnavailableError(new Error(`S3 did not ${what}: ${describe(error)}`));
    } finally {
      clearTimeout(timer);
    }
  }
}

function clientConfig({ region, endpoint, accessKey }: S3Settings, limits: S3Limits): S3ClientConfig {
  const agent = { keepAlive: true, maxSockets: limits.socketsMax };
  return {
    region,
    ...(endpoint === null ? {} : { endpoint: endpoint.href, forcePathStyle: true }),
    ...(accessKey === null
      ? {}
      : { credentials: { accessKeyId: accessKey.id, secretAccessKey: accessKey.secret } }),
    maxAttempts: limits.attemptsMax,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: limits.connectTimeoutMs,
      requestTimeout: limits.silenceMaxMs,
      throwOnRequestTimeout: true,
      socketTimeout: limits.silenceMaxMs,
      httpAgent: agent,
      httpsAgent: agent,
    },
  };
}

function nullWhenMissing(error: unknown): null {
  if (error instanceof NoSuchKey || error instanceof NotFound) return null;
  throw error;
}

/** Describes an error with its name and ids only, without anything that was sent or signed. */
function describe(error: unknown): string {
  if (error instanceof S3ServiceException) {
    const { httpStatusCode = 'no status', requestId = 'no request id' } = error.$metadata;
    return `${error.name} (${httpStatusCode}, ${requestId})`;
  }
  if (!(error instanceof Error)) return 'unknown';
  const { code } = error as NodeJS.ErrnoException;
  return code ?? error.message;
}
