import { Readable } from 'node:stream';
import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { ResourceMissingError } from '../../../platform/errors/common.errors.js';
import { InvalidMediaUrlError } from '../calls/generation.errors.js';
import {
  CONTENT_TYPES,
  toFileName,
  parseMediaName,
  type MediaName,
  MediaSigner,
  MEDIA_STORE,
  type MediaStore,
  type StoredImage,
} from './media-store.js';

/** A request for an image. */
export type DownloadRequest = {
  readonly generation: string;
  readonly file: string;
  readonly expires: unknown;
  readonly signature: unknown;
  /** True for HEAD requests, which are answered with the headers only. */
  readonly isHead: boolean;
  /** `If-None-Match`, the version that the client has already. */
  readonly ifNoneMatch: string | undefined;
};

export type Download = {
  readonly status: 200 | 304;
  readonly headers: Readonly<Record<string, string>>;
  /** Null when the client has the image already. */
  readonly stream: Readable | null;
};

@Injectable()
export class MediaDownloadsService {
  constructor(
    private readonly signer: MediaSigner,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Throws `InvalidMediaUrlError` (403) for a forged or expired URL without any look-up, and `ResourceMissingError` (404) for an image
   * that was deleted or is past its retention time.
   */
  async open(request: DownloadRequest): Promise<Download> {
    const { generation, file, expires, signature, ifNoneMatch } = request;
    const name = parseMediaName(generation, file);
    if (name === null) throw new InvalidMediaUrlError();
    const secondsLeft = this.signer.secondsLeft(name, expires, signature, this.clock.nowMs());
    if (secondsLeft === null) throw new InvalidMediaUrlError();
    const found = await (request.isHead || ifNoneMatch !== undefined
      ? this.look(name)
      : this.media.open(name));
    if (found === null) throw new ResourceMissingError('image', `${generation}/${file}`);
    const etag = toEtag(name, found.bytes);
    const headers = { etag, ...cachingHeaders(secondsLeft) };
    if (ifNoneMatch !== undefined) {
      if (isNamed(etag, ifNoneMatch)) {
        found.stream.destroy();
        return { status: 304, headers, stream: null };
      }
      if (!request.isHead) return this.open({ ...request, ifNoneMatch: undefined });
    }
    return { status: 200, headers: { ...headers, ...imageHeaders(name, found.bytes) }, stream: found.stream };
  }

  /** Reads only the size of the image. */
  private async look(name: MediaName): Promise<StoredImage | null> {
    const bytes = await this.media.getSize(name);
    return bytes === null ? null : { stream: Readable.from([]), bytes };
  }
}

function imageHeaders(name: MediaName, bytes: number): Record<string, string> {
  return {
    // This is the verified format of the file.
    'content-type': CONTENT_TYPES[name.format],
    'content-length': String(bytes),
    'content-disposition': `inline; filename="${name.generationId}-${toFileName(name)}"`,
    'accept-ranges': 'none',
  };
}

/** These headers are sent with a 304 as well, because caches and browsers keep the earlier value of a missing header. */
function cachingHeaders(secondsLeft: number): Record<string, string> {
  return {
    'cache-control': `private, max-age=${secondsLeft}, immutable`,
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    // The customer's own pages may embed the image.
    'cross-origin-resource-policy': 'cross-origin',
  };
}

/** An image never changes under its name. Only a file that was cut short by a crash is replaced, and then its size changes. */
function toEtag({ generationId, position }: MediaName, bytes: number): string {
  return `"${generationId}-${position}-${bytes}"`;
}

/** `If-None-Match` compares weakly, and `*` means any. */
function isNamed(etag: string, ifNoneMatch: string): boolean {
  return ifNoneMatch.split(',').some((given) => {
    const tag = given.trim();
    return tag === '*' || tag === etag || tag === `W/${etag}`;
  });
}
