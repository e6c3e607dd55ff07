import { Inject, Injectable } from '@nestjs/common';
import { unreadBodyOf, type UnreadBody, type UnreadRequest } from '../../../platform/http/unread-body.js';
import { UnsupportedMediaTypeError } from '../../../platform/errors/common.errors.js';
import type { GenerationAnswer } from '../calls/generation-answer.js';
import { ClientGoneError } from '../calls/generation.errors.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../calls/generation-limits.js';
import type { Caller } from '../calls/generation.service.js';
import { ImageCalls } from '../calls/image-calls.service.js';
import type { ImageRequest } from '../calls/image-request.js';
import type { ConversionContext } from '../media/conversions.js';
import { ImageModels } from '../calls/model-catalog.js';
import { ArrivingImages, ImageCheck } from './arriving-image.js';
import { EDIT_BODY_BYTES_MAX, type EditBody, type SentImage } from './edit-body.js';
import { EditCredit } from './edit-credit.service.js';
import { EditMemory, type Reservation } from './edit-memory.js';
import { completeEdit, parseEdit, type EditDraft } from './edit-request.js';
import { readJsonBody } from './json-body.js';
import { readMultipartBody } from './multipart-body.js';
import { readReference, type Reference } from './reference.js';
import { ReferenceFetcher } from './reference-fetcher.service.js';

/** Beside a reference's own bytes, its base64 and the body that goes to the provider. */
const COPIES = 4;

/** The least that has to come within `editPaceMs`. */
const PACE_BYTES = 1_048_576;

/** What an edit holds until it is over: its memory, and its place among those that decode. */
type Preparation = { readonly memory: Reservation; readonly context: ConversionContext };

/**
 * Edits, from the first byte of their body. Nothing of it is read before the caller is known, has credit, and the memory for it
 * is free; that is kept until the call is over. No image is fetched or decoded before its credit and the limits were asked.
 * What is done for an edit until it is paid stops when its client is gone.
 */
@Injectable()
export class ImageEdits {
  private readonly memory = new EditMemory();

  constructor(
    private readonly calls: ImageCalls,
    private readonly models: ImageModels,
    private readonly fetcher: ReferenceFetcher,
    private readonly credit: EditCredit,
    @Inject(GENERATION_LIMITS) private readonly limits: Pick<GenerationLimits, 'editPaceMs'>,
  ) {}

  /**
   * Resolves after the charge is durable. Rejects with a `Problem` that says what was charged.
   *
   * @param gone aborts when the client has left without its answer.
   */
  async edit(request: UnreadRequest, caller: Caller, gone: AbortSignal): Promise<GenerationAnswer> {
    const body = unreadBodyOf(request);
    const owner = await this.credit.ownerOf(caller);
    const announcedBytes = Math.min(body.declaredBytes ?? EDIT_BODY_BYTES_MAX, EDIT_BODY_BYTES_MAX);
    const memory = await this.memory.enter(owner, announcedBytes, gone).catch(orGone(gone));
    const arriving = new ArrivingImages();
    try {
      const { draft, images } = await this.read(body, caller, { memory, arriving }).catch(orGone(gone));
      const context = { slotRequest: { owner, call: caller.requestId }, signal: gone };
      const complete = (): Promise<ImageRequest> =>
        this.complete(draft, images, { memory, context }).catch(orGone(gone));
      return await this.calls.generate({ ...draft, complete }, caller);
    } finally {
      arriving.release();
      memory.release();
    }
  }

  /** Throws a `Problem` that names the parameter at fault, or what the hold would throw (402). */
  private async read(
    unread: UnreadBody,
    caller: Caller,
    { memory, arriving }: { readonly memory: Reservation; readonly arriving: ArrivingImages },
  ): Promise<{ readonly draft: EditDraft; readonly images: SentImage[] }> {
    const onBytes = (bytes: number): void => memory.grow(bytes);
    const pace = { bytes: PACE_BYTES, ms: this.limits.editPaceMs };
    const body = await readBody({ ...unread, onBytes, pace }, arriving);
    const draft = parseEdit(body, await this.models.current());
    await this.credit.require(draft, caller);
    return { draft, images: [...body.images] };
  }

  /**
   * Fetches and decodes the images. Throws a `Problem` that names the image at fault.
   *
   * @param images emptied: what was sent must not weigh on the process for as long as the call runs.
   */
  private async complete(
    draft: EditDraft,
    images: SentImage[],
    { memory, context }: Preparation,
  ): Promise<ImageRequest> {
    const onBytes = (bytes: number): void => memory.grow(bytes);
    const count = images.length;
    const references: Reference[] = [];
    let keptBytes = 0;
    // One after the other: decoded they are large.
    for (let sent = images.shift(); sent !== undefined; sent = images.shift()) {
      const { source, param } = sent;
      context.signal.throwIfAborted();
      const bytes = 'url' in source ? await this.fetch(source.url, param, onBytes) : source.image.join();
      const reference = await readReference(bytes, param, count, context);
      const kept = COPIES * reference.bytes.length;
      if ('url' in source) onBytes(Math.max(kept - bytes.length, 0));
      keptBytes += kept;
      references.push(reference);
    }
    memory.shrinkTo(keptBytes);
    return completeEdit(draft, references);
  }

  private async fetch(url: string, param: string, onBytes: (bytes: number) => void): Promise<Buffer> {
    const bytes = await this.fetcher.fetch(url, param, onBytes);
    const check = new ImageCheck(param);
    check.take(bytes);
    check.end();
    return bytes;
  }
}

/** What fails because the client is gone is that and nothing else. */
function orGone(gone: AbortSignal): (error: unknown) => never {
  return (error) => {
    throw gone.aborted ? new ClientGoneError() : error;
  };
}

function readBody(body: UnreadBody, arriving: ArrivingImages): Promise<EditBody> {
  const mediaType = body.contentType.split(';', 1)[0]?.trim().toLowerCase();
  switch (mediaType) {
    case 'multipart/form-data':
      return readMultipartBody(body, arriving);
    case 'application/json':
      return readJsonBody(body, arriving);
    default:
      throw new UnsupportedMediaTypeError('multipart/form-data or application/json');
  }
}
