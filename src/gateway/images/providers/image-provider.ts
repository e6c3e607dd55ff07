import type { SlotRequest } from '../../../platform/common/fair-slots.js';
import type { MicroUsd } from '../../../platform/common/money.js';

/** Every provider for which this release has an adapter. Rows and receipts contain these names, so they never change. */
export const PROVIDER_NAMES = ['black_forest_labs', 'cloudflare_workers_ai', 'openai_compatible'] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];
export type OutputFormat = 'png' | 'jpeg' | 'webp';

/** An image that a customer sent to be edited. It is verified before it is sent to a provider. */
export type ReferenceImage = {
  readonly bytes: Buffer;
  readonly contentType: 'image/png' | 'image/jpeg' | 'image/webp';
  readonly width: number;
  readonly height: number;
};

/** The request for one image that is sent to a provider. */
export type ProviderRequest = {
  readonly upstreamModel: string;
  /** The prompt is never logged or stored. */
  readonly prompt: string;
  readonly width: number;
  readonly height: number;
  /** Null when the provider may choose the format. */
  readonly outputFormat: OutputFormat | null;
  /** OpenAI's `moderation`: `low` asks for the less restrictive filter. */
  readonly moderation: 'auto' | 'low';
  /** The reference images of an edit in the customer's order; empty for an image from text alone. */
  readonly references: readonly ReferenceImage[];
  /** What an image costs us on this route according to the catalogue, for providers whose answers do not name the cost. */
  readonly costMicros?: MicroUsd | null;
};

/** The provider's task for one image. */
export type ProviderTask = {
  /** Null when the provider did not name an id. */
  readonly taskId: string | null;
  /** Where any process can ask for the result. Null when the provider's only answer is the image itself. */
  readonly pollingUrl: string | null;
  /** What the provider charges us for the image; null when it did not name a cost, or charges the customer. */
  readonly costMicros: MicroUsd | null;
};

export type GenerateContext = {
  /** The account and the call that the image is for, because slots are shared evenly between accounts. */
  readonly slotRequest: SlotRequest;
  /** Aborted when the time for this attempt is over. */
  readonly signal: AbortSignal;
  /** Called as soon as the provider has named the task, before its result is awaited. */
  readonly onTask: (task: ProviderTask) => void;
  /** How long the image may wait while the upstream account has no capacity; by default the provider's own limit. */
  readonly saturationWaitMaxMs?: number;
};

/**
 * Makes images. `generate` and `resume` resolve with the bytes as the provider sent them, which the caller has to verify, and reject
 * only with a `ProviderFailure`.
 */
export interface ImageProvider {
  readonly name: ProviderName;
  /** Returns why it can never make this image, as text for the customer that begins with the parameter; null when it can. Pure. */
  findObstacle(request: ProviderRequest): string | null;
  generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer>;
  /** Waits for a task that was started earlier, perhaps by a process that is dead now. */
  resume(task: ProviderTask, signal: AbortSignal): Promise<Buffer>;
  /** Closes its connections. It must not be used afterwards. */
  close(): Promise<void>;
}

/** A provider for which customers may attach their own keys. */
export interface KeyedImageProvider extends ImageProvider {
  /** Sends a request that costs nothing and needs a valid key. Never rejects. */
  checkKey(signal: AbortSignal): Promise<KeyCheck>;
}

/** The provider's answer about a key. */
export type KeyCheck =
  /** The credit of its account, in micro-USD; null when the provider did not say. */
  | { readonly outcome: 'accepted'; readonly creditMicros: MicroUsd | null }
  | { readonly outcome: 'rejected' }
  | { readonly outcome: 'unreachable' };

/** A customer's decrypted key, which is kept for one call only. */
export type CustomerKey = {
  /** The id of the stored key. Calls with the same key share the task slots of its account. */
  readonly id: string;
  readonly secret: string;
};

/** The providers that are configured, by name. */
export interface ImageProviders {
  /** Returns the provider with our own account. */
  get(name: ProviderName): ImageProvider | undefined;
  /** Returns the provider with the customer's account. It is made for one call and does not have to be closed. */
  over(name: ProviderName, key: CustomerKey): KeyedImageProvider | undefined;
}

export const IMAGE_PROVIDERS = Symbol('IMAGE_PROVIDERS');
