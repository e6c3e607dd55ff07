import { Inject, Injectable } from '@nestjs/common';
import { imageInMemory, imageInStore, type AnswerImage } from './answer-images.js';
import { base64Body, urlBody, type AnswerBody } from './generation-answer.js';
import { MediaSigner } from '../media/media-signer.js';
import { MEDIA_STORE, type MediaStore } from '../media/media-store.js';
import type { OutputFormat } from '../providers/image-provider.js';
import type { DeliveredImage, Generation } from './records/generation.js';

/** `image` is the image itself when it is in memory. When it is null, the image is read from the store and has the length `bytes`. */
type ImageToAnswer = DeliveredImage & { readonly image: Buffer | null };

/** Builds the bodies of answers, which hold either the URLs of the images or the images themselves. */
@Injectable()
export class AnswerBodies {
  constructor(
    private readonly signer: MediaSigner,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
  ) {}

  /** @param format the format of all images; null when they differ, or when the first answer of this call did not name it. */
  make(generation: Generation, images: readonly ImageToAnswer[], format: OutputFormat | null): AnswerBody {
    if (generation.responseFormat === 'url') return urlBody(this.signer, generation, images, format);
    const toAnswerImage = ({ image, ...stored }: ImageToAnswer): AnswerImage =>
      image === null ? imageInStore(this.media, generation, stored) : imageInMemory(image);
    return base64Body(generation, images.map(toAnswerImage), format);
  }
}
