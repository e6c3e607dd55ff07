import type { MicroUsd } from '../../common/money.js';
import type { GenerationStatus } from '../generation.machine.js';
import type { ResponseFormat } from '../image-request.js';
import type { OutputFormat, ProviderName, ProviderTask } from '../providers/image-provider.js';

export type GenerationKey = { readonly accountId: string; readonly id: string };

/** One image request: what is known when it begins, and never changes. */
export type Generation = GenerationKey & {
  readonly apiKeyId: string;
  readonly requestId: string;
  readonly model: string;
  readonly priceId: string;
  /** For one image. */
  readonly priceMicros: MicroUsd;
  readonly imagesRequested: number;
  readonly width: number;
  readonly height: number;
  readonly responseFormat: ResponseFormat;
  readonly outputFormat: OutputFormat;
  readonly endUser: string | null;
  readonly fingerprint: string;
  readonly idempotencyKey: string | null;
  readonly mediaKeyId: string;
  /** Null: the model is free. */
  readonly holdId: string | null;
  readonly createdAtMs: number;
};

/** A generation as stored, with the images that it delivered. */
export type StoredGeneration = Generation & {
  readonly status: GenerationStatus;
  readonly chargedMicros: MicroUsd;
  readonly errorCode: string | null;
  readonly images: readonly DeliveredImage[];
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number | null;
};

/** `position` counts the call's images from 0. */
export type DeliveredImage = { readonly position: number; readonly bytes: number };

/** An attempt at one image whose provider has named its task. */
export type KnownTask = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: ProviderName;
  readonly task: ProviderTask;
};

/** An attempt at one image, as stored. */
export type TaskRecord = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: ProviderName;
  readonly task: ProviderTask | null;
  readonly status: 'pending' | 'delivered' | 'failed';
};

export type DeliveredTask = TaskRecord & GenerationKey & { readonly bytes: number };

/** How the attempt at one image ended. */
export type TaskResult = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: ProviderName;
  /** Null: the provider never named one. */
  readonly task: ProviderTask | null;
  /** Size of the stored file; null unless delivered. */
  readonly bytes: number | null;
  /** Null when delivered. */
  readonly failure: string | null;
  readonly finishedAtMs: number;
};

export type Ending = {
  readonly chargedMicros: MicroUsd;
  readonly errorCode: string | null;
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number;
  /** Of every image that was begun. */
  readonly results: readonly TaskResult[];
};
