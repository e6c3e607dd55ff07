import { ID_PREFIXES } from '../../../../platform/common/ids.js';
import type { MicroUsd } from '../../../../platform/common/money.js';
import type { GenerationStatus } from '../generation.machine.js';
import type { Operation, ResponseFormat } from '../image-request.js';
import type { OutputFormat, ProviderName, ProviderTask } from '../../providers/image-provider.js';

export type GenerationKey = { readonly accountId: string; readonly id: string };

/** The payer of a call that is paid from the wallet or free. */
type WalletPayer = {
  readonly providerKeyId: null;
  /** Null when the model is free. */
  readonly holdId: string | null;
};

/** The payer of a BYOK call. Such a call cannot have a hold, neither in this type nor in the database. */
type ProviderKeyPayer = { readonly providerKeyId: string; readonly holdId: null };

export type Payer = WalletPayer | ProviderKeyPayer;

/** `byok` calls use the customer's own provider key and cost the wallet nothing. */
export type BillingMode = 'wallet' | 'byok' | 'free';

export function getBillingMode({ providerKeyId, holdId }: Payer): BillingMode {
  if (providerKeyId !== null) return 'byok';
  return holdId === null ? 'free' : 'wallet';
}

const HOLD_REFERENCE_PREFIX = 'generation:';

/** Returns the ledger's reference of a generation's hold. The general expiry of holds leaves holds with such references to recovery. */
export function toHoldReference(generationId: string): string {
  return `${HOLD_REFERENCE_PREFIX}${generationId}`;
}

/** Returns the id of a generation's hold. Both ids share one ULID, so that each can be derived from the other. */
export function toHoldId(generationId: string): string {
  return `${ID_PREFIXES.hold}${generationId.slice(ID_PREFIXES.generation.length)}`;
}

/** One image request: what is known when it begins and never changes. */
export type Generation = GenerationFacts & Payer;
export type WalletFundedGeneration = GenerationFacts & WalletPayer;

export type GenerationFacts = GenerationKey & {
  readonly apiKeyId: string;
  readonly requestId: string;
  readonly model: string;
  readonly priceId: string;
  /** The price of one image; for a BYOK call the list price, for information. */
  readonly priceMicros: MicroUsd;
  readonly imagesRequested: number;
  readonly width: number;
  readonly height: number;
  readonly responseFormat: ResponseFormat;
  /** The format that the client asked for; null when the image is delivered as its provider makes it. */
  readonly outputFormat: OutputFormat | null;
  readonly endUser: string | null;
  readonly fingerprint: string;
  readonly idempotencyKey: string | null;
  readonly mediaKeyId: string;
  /** The BYOK call that was refused and that this wallet-funded call replaces. */
  readonly fellBackFrom: string | null;
  readonly operation: Operation;
  /** How many reference images were sent; they are not kept. */
  readonly referencesCount: number;
  /** `x-coffer-tag`, by which the customer groups usage. */
  readonly tag: string | null;
  /**
   * The number of the attempt, for clients that send a call again by themselves without an idempotency key; 0 is the first. A retry
   * may claim it (`retries/`). Null for all other clients; no retry claims it then.
   */
  readonly attempt: number | null;
  readonly createdAtMs: number;
};

/** Whether, and how, a retry without an idempotency key may claim the attempt (`retries/README.md`). */
export type RetryState = 'open' | 'abandoned' | 'claimed';

/** A generation as stored, with the images that it delivered. */
export type StoredGeneration = Generation & {
  readonly status: GenerationStatus;
  readonly chargedMicros: MicroUsd;
  readonly errorCode: string | null;
  readonly images: readonly DeliveredImage[];
  /** False for calls of an earlier release whose answers did not name the format: they are repeated byte for byte. */
  readonly namesFormat: boolean;
  readonly retryState: RetryState | null;
  readonly retryClaim: string | null;
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number | null;
  /** Null when the customer has not deleted the images. They may still have been removed by retention. */
  readonly imagesDeletedAtMs: number | null;
};

/** `position` counts the call's images from 0. */
export type DeliveredImage = {
  readonly position: number;
  readonly bytes: number;
  readonly format: OutputFormat;
};

/** Returns the format of all these images; null when they differ or there are none. */
export function sharedFormat(images: readonly Pick<DeliveredImage, 'format'>[]): OutputFormat | null {
  const [first, ...others] = new Set(images.map(({ format }) => format));
  return others.length === 0 ? (first ?? null) : null;
}

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

export type DeliveredTask = TaskRecord &
  GenerationKey & {
    readonly bytes: number;
    /** Null in rows of earlier releases, where the image has the format that was asked for. */
    readonly format: OutputFormat | null;
  };

/** The result of one attempt at one image. */
export type TaskResult = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: ProviderName;
  /** Null when the provider did not name a task. */
  readonly task: ProviderTask | null;
  /** The size of the stored file; null unless the image was delivered. */
  readonly bytes: number | null;
  /** The format of the stored file; null when the image was not delivered or its file is lost. */
  readonly format: OutputFormat | null;
  /** Null when the image was delivered. */
  readonly failure: string | null;
  readonly finishedAtMs: number;
};

export type Ending = {
  readonly chargedMicros: MicroUsd;
  readonly errorCode: string | null;
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number;
  /** Whether the answer has reached its client; absent when that is not known. */
  readonly answered?: boolean;
  /** The results of all attempts. */
  readonly results: readonly TaskResult[];
};
