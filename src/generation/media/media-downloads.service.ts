import type { ReadStream } from 'node:fs';
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, type Clock } from '../../common/clock.js';
import { ResourceMissingError } from '../../problems/common.errors.js';
import { InvalidMediaUrlError } from '../generation.errors.js';
import { CONTENT_TYPES, fileNameOf, parseMediaName } from './media-name.js';
import { MediaSigner } from './media-signer.js';
import { MEDIA_STORE, type MediaStore } from './media-store.js';

/** The parts of a signed URL, as they came in. */
export type SignedUrlParts = {
  readonly generation: string;
  readonly file: string;
  readonly expires: unknown;
  readonly signature: unknown;
};

export type Download = {
  readonly stream: ReadStream;
  readonly headers: Readonly<Record<string, string>>;
};

@Injectable()
export class MediaDownloads {
  constructor(
    private readonly signer: MediaSigner,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Throws `InvalidMediaUrlError` (403) for a forged or expired URL before anything is looked up, and
   * `ResourceMissingError` (404) for an image that is past its retention time.
   */
  async open({ generation, file, expires, signature }: SignedUrlParts): Promise<Download> {
    const name = parseMediaName(generation, file);
    if (name === null) throw new InvalidMediaUrlError();
    const secondsLeft = this.signer.secondsLeft(name, expires, signature, this.clock.nowMs());
    if (secondsLeft === null) throw new InvalidMediaUrlError();
    const stored = await this.media.open(name);
    if (stored === null) throw new ResourceMissingError('image', `${generation}/${file}`);
    return {
      stream: stored.stream,
      headers: {
        // What the file was decoded as, never what somebody called it.
        'content-type': CONTENT_TYPES[name.format],
        'content-length': String(stored.bytes),
        'content-disposition': `inline; filename="${name.generationId}-${fileNameOf(name)}"`,
        'cache-control': `private, max-age=${secondsLeft}, immutable`,
        'content-security-policy': "default-src 'none'; sandbox",
        'x-content-type-options': 'nosniff',
        // The customer's own pages may show it.
        'cross-origin-resource-policy': 'cross-origin',
      },
    };
  }
}
