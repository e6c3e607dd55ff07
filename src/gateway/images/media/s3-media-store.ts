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
import { CONTENT_TYPES, type MediaName } from './media-name.js';
import { daysBefore, mediaPathOf } from './media-path.js';
import type { MediaStore, StoredImage } from './media-store.js';

export type S3Limits = {
  readonly connectTimeoutMs: number;
  /** Silence on a connection; a body that stalls ends with it. */
  readonly silenceMaxMs: number;
  /** Of one operation, its attempts together. */
  readonly operationMs: number;
  readonly attemptsMax: number;
  /** Connections for storing images and for downloads, each. */
  readonly socketsMax: number;
  /** Of one run of the retention job; it runs again within the hour. */
  readonly removalMs: number;
};

/** An image takes S3 some hundred milliseconds. A call waits at most 15 s here, far below its own deadline. */
export const s3Limits: S3Limits = {
  connectTimeoutMs: 2_000,
  silenceMaxMs: 10_000,
  operationMs: 15_000,
  attemptsMax: 3,
  socketsMax: 128,
  removalMs: 10 * 60_000,
};

/** What S3 lists and deletes at most in one request. */
const BATCH_MAX = 1_000;
/** Above any image that was ever stored (`verifyImage` bounds the pixels), so nothing else is read into memory. */
const READ_BYTES_MAX = 64 * 1_024 * 1_024;

/**
 * Objects `<prefix><day>/<hour and minute>/<generation>-<position>.<format>` of a private bucket. S3 answers 200
 * when an image lies on several machines: it survives this one. An image carries its MD5 on the way, which every
 * server that speaks S3 compares before it accepts; Amazon's newer checksums are left out for the servers that do not
 * know them.
 *
 * Downloads have connections of their own. They last as long as their clients are slow, and must not keep the images of
 * paid calls waiting.
 *
 * Errors of the SDK are not passed on. Some carry what was signed and the id of the access key, and whatever an error
 * carries ends up in a log.
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

  /** A wrong bucket or key is told at start, not by the first customer. The service starts all the same: it can be mended there. */
  onApplicationBootstrap(): void {
    this.listDays().catch((error: unknown) => this.logger.error({ err: error }, 'Images cannot be stored'));
  }

  onApplicationShutdown(): void {
    this.client.destroy();
    this.downloads.destroy();
  }

  async write(name: MediaName, image: Buffer): Promise<void> {
    const put = new PutObjectCommand({
      ...this.objectOf(name),
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
    const head = new HeadObjectCommand(this.objectOf(name));
    return this.ask('look for an image', async (abortSignal) => {
      const found = await this.client.send(head, { abortSignal }).catch(nullWhenMissing);
      return found?.ContentLength ?? null;
    });
  }

  async remove(name: MediaName): Promise<void> {
    const remove = new DeleteObjectCommand(this.objectOf(name));
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
    const get = new GetObjectCommand(this.objectOf(name));
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

  /** False when there is nothing left. What was listed is gone before more is listed, so no page has to be remembered. */
  private async removeBatch(prefix: string): Promise<boolean> {
    const { bucket: Bucket } = this.settings;
    const list = new ListObjectsV2Command({ Bucket, Prefix: prefix, MaxKeys: BATCH_MAX });
    const page = await this.ask('list images', (abortSignal) => this.client.send(list, { abortSignal }));
    const objects = (page.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [{ Key }]));
    if (objects.length === 0) return false;
    const remove = new DeleteObjectsCommand({ Bucket, Delete: { Objects: objects, Quiet: true } });
    await this.ask('delete images', async (abortSignal) => {
      const { Errors: refused = [] } = await this.client.send(remove, { abortSignal });
      // One that is refused for ever would be listed for ever.
      if (refused.length > 0) throw new Error(`${refused.length} were refused, with ${refused[0]?.Code}`);
    });
    return page.IsTruncated === true;
  }

  private objectOf(name: MediaName): { Bucket: string; Key: string } {
    const { folder, file } = mediaPathOf(name);
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

/** Nothing that was sent or signed, only names. */
function describe(error: unknown): string {
  if (error instanceof S3ServiceException) {
    const { httpStatusCode = 'no status', requestId = 'no request id' } = error.$metadata;
    return `${error.name} (${httpStatusCode}, ${requestId})`;
  }
  if (!(error instanceof Error)) return 'unknown';
  const { code } = error as NodeJS.ErrnoException;
  return code ?? error.message;
}
