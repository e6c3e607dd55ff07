import type { MicroUsd } from '../../../../platform/common/money.js';
import type { GenerationStatus } from '../generation.machine.js';
import type { Operation, ResponseFormat } from '../image-request.js';
import type { OutputFormat, ProviderName, ProviderTask } from '../../providers/image-provider.js';

export type GenerationKey = { readonly accountId: string; readonly id: string };

/** A call that is paid from the wallet, or is free. */
type WalletPayer = {
  readonly providerKeyId: null;
  /** Null: the model is free. */
  readonly holdId: string | null;
};

/** A call over the customer's own provider key. There is no such call with a hold: it cannot be written down. */
type ProviderKeyPayer = { readonly providerKeyId: string; readonly holdId: null };

export type Payer = WalletPayer | ProviderKeyPayer;

/** `byok`: over the customer's own provider key, for nothing. */
export type BillingMode = 'wallet' | 'byok' | 'free';

export function billingModeOf({ providerKeyId, holdId }: Payer): BillingMode {
  if (providerKeyId !== null) return 'byok';
  return holdId === null ? 'free' : 'wallet';
}

/** One image request: what is known when it begins, and never changes. */
export type Generation = GenerationFacts & Payer;
export type OrdinaryGeneration = GenerationFacts & WalletPayer;

export type GenerationFacts = GenerationKey & {
  readonly apiKeyId: string;
  readonly requestId: string;
  readonly model: string;
  readonly priceId: string;
  /** For one image; over a customer's own key the list price, for information. */
  readonly priceMicros: MicroUsd;
  readonly imagesRequested: number;
  readonly width: number;
  readonly height: number;
  readonly responseFormat: ResponseFormat;
  /** What the client asked for; null: as the provider makes it. */
  readonly outputFormat: OutputFormat | null;
  readonly endUser: string | null;
  readonly fingerprint: string;
  readonly idempotencyKey: string | null;
  readonly mediaKeyId: string;
  /** The call over the customer's own key that was refused, and that this ordinary one is made instead of. */
  readonly fellBackFrom: string | null;
  readonly operation: Operation;
  /** How many reference images came with it; they are not kept. */
  readonly referencesCount: number;
  /** `x-coffer-tag`: what the customer counts this call under. */
  readonly tag: string | null;
  /**
   * Which attempt of a client that sends its call again by itself, without a key; 0 is the first. A retry may take it
   * (`retries/`). Null: of any other client, and no retry takes it.
   */
  readonly attempt: number | null;
  readonly createdAtMs: number;
};

/** What a retry without a key finds (`retries/README.md`); null: nothing to take. */
export type RetryState = 'open' | 'abandoned' | 'claimed';

/** A generation as stored, with the images that it delivered. */
export type StoredGeneration = Generation & {
  readonly status: GenerationStatus;
  readonly chargedMicros: MicroUsd;
  readonly errorCode: string | null;
  readonly images: readonly DeliveredImage[];
  /** False for calls of a release whose answers did not name the format: they are repeated to the byte. */
  readonly namesFormat: boolean;
  readonly retryState: RetryState | null;
  readonly retryClaim: string | null;
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number | null;
  /** Null: not deleted. Whether they are still there is the retention's matter. */
  readonly imagesDeletedAtMs: number | null;
};

/** `position` counts the call's images from 0. */
export type DeliveredImage = {
  readonly position: number;
  readonly bytes: number;
  readonly format: OutputFormat;
};

/** The format that all of them have; null when they differ, or there are none. */
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
    /** Null in rows of earlier releases: what was asked for. */
    readonly format: OutputFormat | null;
  };

/** How the attempt at one image ended. */
export type TaskResult = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: ProviderName;
  /** Null: the provider never named one. */
  readonly task: ProviderTask | null;
  /** Size of the stored file; null unless delivered. */
  readonly bytes: number | null;
  /** Of the stored file; null unless delivered, and of a file that is lost. */
  readonly format: OutputFormat | null;
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
  /** Whether the answer has reached its client; absent when nobody knows. */
  readonly answered?: boolean;
  /** Of every image that was begun. */
  readonly results: readonly TaskResult[];
};
