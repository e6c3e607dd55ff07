import { Inject, Injectable } from '@nestjs/common';
import { imageInMemory, imageInStore, type AnswerImage } from './answer-images.js';
import { base64Body, urlBody, type AnswerBody } from './generation-answer.js';
import { MediaSigner } from '../media/media-signer.js';
import { MEDIA_STORE, type MediaStore } from '../media/media-store.js';
import type { OutputFormat } from '../providers/image-provider.js';
import type { DeliveredImage, Generation } from './records/generation.js';

/** `image`: itself, where it is in memory; else it is read from the store, where it has `bytes`. */
type AnsweredImage = DeliveredImage & { readonly image: Buffer | null };

/** What calls are answered with: addresses of their images, or the images themselves. */
@Injectable()
export class AnswerBodies {
  constructor(
    private readonly signer: MediaSigner,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
  ) {}

  /** @param format what all images are; null when they differ, or the call's answer never said. */
  make(generation: Generation, images: readonly AnsweredImage[], format: OutputFormat | null): AnswerBody {
    if (generation.responseFormat === 'url') return urlBody(this.signer, generation, images, format);
    const toAnswerImage = ({ image, ...stored }: AnsweredImage): AnswerImage =>
      image === null ? imageInStore(this.media, generation, stored) : imageInMemory(image);
    return base64Body(generation, images.map(toAnswerImage), format);
  }
}
