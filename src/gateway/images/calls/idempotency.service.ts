import { Inject, Injectable } from '@nestjs/common';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import type { Clock } from '../../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { toMediaName, retentionMs, MEDIA_STORE, type MediaStore } from '../media/media-store.js';
import { ResourceMissingError } from '../../../platform/errors/common.errors.js';
import { AnswerBodies, type GenerationAnswer } from './generation-answer.js';
import {
  IdempotencyInProgressError,
  IdempotencyKeyReusedError,
  IdempotencyKeyUsedError,
  ImagesDeletedError,
} from './generation.errors.js';
import { acceptsFormat } from './image-request.js';
import { GenerationReaderService } from './records/generation-reader.service.js';
import { GenerationRecordsService } from './records/generation-records.service.js';
import {
  getBillingMode,
  sharedFormat,
  type DeliveredImage,
  type Generation,
  type StoredGeneration,
} from './records/generation.js';

/** A call that fails between the claim and the read frees its key, and the claim is repeated. This does not happen many times in a row. */
const ATTEMPTS_MAX = 3;

/**
 * Implements `Idempotency-Key`: the first call runs, and its copies receive its answer. A unique index decides which call is
 * first, so this is true for any number of copies and processes.
 */
@Injectable()
export class IdempotencyService {
  constructor(
    private readonly records: GenerationRecordsService,
    private readonly reader: GenerationReaderService,
    private readonly bodies: AnswerBodies,
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'mediaRetentionDays'>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Returns null when this call has the key: its generation is recorded and may run. Otherwise it returns the earlier call's answer.
   * Throws `IdempotencyKeyReusedError` (422) for another body, `IdempotencyInProgressError` (409) while the
   * earlier call runs or its outcome is unknown, `IdempotencyKeyUsedError` or `ImagesDeletedError` (410) when its answer is
   * no longer kept. Calls that failed without a charge have freed their key.
   */
  async claim(
    generation: Generation & { readonly idempotencyKey: string },
  ): Promise<GenerationAnswer | null> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      if (await this.records.claim(generation)) return null;
      const { accountId, idempotencyKey } = generation;
      const earlier = await this.reader.findByIdempotencyKey(accountId, idempotencyKey);
      if (earlier === null) continue;
      const isSame =
        earlier.fingerprint === generation.fingerprint &&
        acceptsFormat(generation.outputFormat, earlier.outputFormat);
      if (!isSame) throw new IdempotencyKeyReusedError();
      if (earlier.status !== 'succeeded') break;
      if (this.isPastRetention(earlier)) throw new IdempotencyKeyUsedError(earlier);
      return this.replay(earlier);
    }
    throw new IdempotencyInProgressError();
  }

  /** Returns the answer of a successful call, byte for byte. Throws `ImagesDeletedError` (410) when its images were deleted. */
  async replay(generation: StoredGeneration): Promise<GenerationAnswer> {
    if (generation.imagesDeletedAtMs !== null) throw new ImagesDeletedError(generation.id);
    const { images } = generation;
    const format = generation.namesFormat ? sharedFormat(images) : null;
    const found = generation.responseFormat === 'url' ? images : await this.measure(generation);
    const body = this.bodies.make(
      generation,
      found.map((image) => ({ ...image, image: null })),
      format,
    );
    const { id, fellBackFrom, chargedMicros } = generation;
    const billingMode = getBillingMode(generation);
    return {
      body,
      generationId: id,
      billingMode,
      fellBackFrom,
      chargedMicros,
      availableMicros: null,
      replayed: true,
    };
  }

  /** Decides by the age of the call and not by which images are left, because a partial answer must never be repeated. */
  private isPastRetention({ createdAtMs, imagesDeletedAtMs }: StoredGeneration): boolean {
    return imagesDeletedAtMs === null && createdAtMs < this.clock.nowMs() - retentionMs(this.settings);
  }

  /** Returns the images with their lengths in the store, because `content-length` is sent before they are read. */
  private measure(generation: StoredGeneration): Promise<DeliveredImage[]> {
    return Promise.all(
      generation.images.map(async (delivered) => {
        const bytes = await this.media.getSize(toMediaName(generation, delivered));
        if (bytes === null) throw new ResourceMissingError('image of generation', generation.id);
        return { ...delivered, bytes };
      }),
    );
  }
}
