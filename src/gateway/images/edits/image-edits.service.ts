import { Inject, Injectable } from '@nestjs/common';
import { getUnreadBody, type UnreadBody, type UnreadRequest } from '../../../platform/http/request-bodies.js';
import { UnsupportedMediaTypeError } from '../../../platform/errors/common.errors.js';
import type { GenerationAnswer } from '../calls/generation-answer.js';
import { ClientGoneError } from '../calls/generation.errors.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../calls/generation-limits.js';
import type { Caller } from '../calls/caller.js';
import { ImageCallsService } from '../calls/image-calls.service.js';
import { type ImageRequest, getImageModels } from '../calls/image-request.js';
import type { ConversionContext } from '../media/conversions.js';
import { ModelCatalogService } from '../../catalog/model-catalog.service.js';
import { ArrivingImages, ImageCheck } from './arriving-image.js';
import { EDIT_BODY_BYTES_MAX, type EditBody, type SentImage } from './edit-body.js';
import { EditCreditService } from './edit-credit.service.js';
import { EditMemory, type Reservation } from './edit-memory.js';
import { completeEdit, parseEdit, type EditDraft } from './edit-request.js';
import { readJsonBody } from './json-body.js';
import { readMultipartBody } from './multipart-body.js';
import { readReference, type Reference } from './reference.js';
import { ReferenceFetcherService } from './reference-fetcher.service.js';

/** In addition to its own bytes, a reference needs memory for its base64 and for the body that is sent to the provider. */
const COPIES = 4;

/** How much of the body has to arrive within `editPaceMs`. */
const PACE_BYTES = 1_048_576;

/** What an edit uses while its images are prepared: its memory, and its place among the conversions. */
type Preparation = { readonly memory: Reservation; readonly context: ConversionContext };

/**
 * Handles edits from the first byte of their body. The body is not read before the caller is authenticated, has credit and its memory
 * is reserved, which stays reserved until the call ends. No image is fetched or decoded before the credit and the limits are checked.
 * Until the call is paid, all work stops when its client disconnects.
 */
@Injectable()
export class ImageEditsService {
  private readonly memory = new EditMemory();

  constructor(
    private readonly calls: ImageCallsService,
    private readonly catalog: ModelCatalogService,
    private readonly fetcher: ReferenceFetcherService,
    private readonly credit: EditCreditService,
    @Inject(GENERATION_LIMITS) private readonly limits: Pick<GenerationLimits, 'editPaceMs'>,
  ) {}

  /**
   * Resolves after the charge is durable. Rejects with a `Problem` that says what was charged.
   *
   * @param gone aborts when the client disconnects before its answer.
   */
  async edit(request: UnreadRequest, caller: Caller, gone: AbortSignal): Promise<GenerationAnswer> {
    const body = getUnreadBody(request);
    const owner = await this.credit.findShareOwner(caller);
    const announcedBytes = Math.min(body.declaredBytes ?? EDIT_BODY_BYTES_MAX, EDIT_BODY_BYTES_MAX);
    const memory = await this.memory.enter(owner, announcedBytes, gone).catch(orGone(gone));
    const arriving = new ArrivingImages();
    try {
      const { draft, images } = await this.read(body, caller, { memory, arriving }).catch(orGone(gone));
      const context = { slotRequest: { owner, call: caller.requestId }, signal: gone };
      const complete = (): Promise<ImageRequest> =>
        this.complete(draft, images, { memory, context }).catch(orGone(gone));
      return await this.calls.create({ ...draft, complete }, caller);
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
    const draft = parseEdit(body, getImageModels(await this.catalog.current()));
    await this.credit.require(draft, caller);
    return { draft, images: [...body.images] };
  }

  /**
   * Fetches and decodes the images. Throws a `Problem` that names the image at fault.
   *
   * @param images is emptied, so that the sent bytes do not stay in memory while the call runs.
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
    // The images are decoded one after the other, because they are large when decoded.
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

/** Turns any failure into `ClientGoneError` when the client has disconnected, because that is then its cause. */
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
