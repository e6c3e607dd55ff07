import { Injectable } from '@nestjs/common';
import { unreadBodyOf, type UnreadBody, type UnreadRequest } from '../../http/unread-body.js';
import { UnsupportedMediaTypeError } from '../../problems/common.errors.js';
import type { GenerationAnswer } from '../generation-answer.js';
import type { Caller } from '../generation.service.js';
import { ImageCalls } from '../image-calls.service.js';
import type { ImageRequest } from '../image-request.js';
import { ImageModels } from '../model-catalog.js';
import { EDIT_BODY_BYTES_MAX, REFERENCE_BYTES_MAX, type EditBody } from './edit-body.js';
import { EditMemory, type Reservation } from './edit-memory.js';
import { completeEdit, parseEdit } from './edit-request.js';
import { readJsonBody } from './json-body.js';
import { readMultipartBody } from './multipart-body.js';
import { readReference, type Reference } from './reference.js';
import { ReferenceFetcher } from './reference-fetcher.service.js';

/** Beside a reference's own bytes, its base64 and the body that goes to the provider. */
const COPIES = 4;

type Reserve = (bytes: number) => Reservation;

/**
 * Edits, from the first byte of their body. Nothing of it is read before the caller is known; what it may hold in memory
 * is set aside first, and kept until the call is over.
 */
@Injectable()
export class ImageEdits {
  private readonly memory = new EditMemory();

  constructor(
    private readonly calls: ImageCalls,
    private readonly models: ImageModels,
    private readonly fetcher: ReferenceFetcher,
  ) {}

  /** Resolves after the charge is durable. Rejects with a `Problem` that says what was charged. */
  async edit(request: UnreadRequest, caller: Caller): Promise<GenerationAnswer> {
    const reservations: Reservation[] = [];
    const reserve: Reserve = (bytes) => {
      const reservation = this.memory.reserve(caller.principal.accountId, bytes);
      reservations.push(reservation);
      return reservation;
    };
    try {
      return await this.calls.generate(await this.read(unreadBodyOf(request), reserve), caller);
    } finally {
      for (const reservation of reservations) reservation.release();
    }
  }

  /** Throws a `Problem` that names the parameter, or the image, at fault. */
  private async read(unread: UnreadBody, reserve: Reserve): Promise<ImageRequest> {
    const ofBody = reserve(Math.min(unread.declaredBytes ?? EDIT_BODY_BYTES_MAX, EDIT_BODY_BYTES_MAX));
    const body = await readBody(unread);
    const draft = parseEdit(body, this.models);
    const references: Reference[] = [];
    let keptOfBody = 0;
    // One after the other: decoded they are large.
    for (const { source, param } of body.images) {
      const isFetched = 'url' in source;
      const ofImage = isFetched ? reserve(REFERENCE_BYTES_MAX) : null;
      const bytes = isFetched ? await this.fetcher.fetch(source.url, param) : source.bytes;
      const reference = await readReference(bytes, param, body.images.length);
      const kept = COPIES * reference.bytes.length;
      ofImage?.shrinkTo(kept);
      if (!isFetched) keptOfBody += kept;
      references.push(reference);
    }
    ofBody.shrinkTo(keptOfBody);
    return completeEdit(draft, references);
  }
}

function readBody(body: UnreadBody): Promise<EditBody> {
  const mediaType = body.contentType.split(';', 1)[0]?.trim().toLowerCase();
  switch (mediaType) {
    case 'multipart/form-data':
      return readMultipartBody(body);
    case 'application/json':
      return readJsonBody(body);
    default:
      throw new UnsupportedMediaTypeError('multipart/form-data or application/json');
  }
}
