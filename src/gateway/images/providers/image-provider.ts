import type { SlotRequest } from '../../../platform/common/fair-slots.js';
import type { MicroUsd } from '../../../platform/common/money.js';

/** Every provider that this release has an adapter for. The words stand in rows and receipts, for ever. */
export const PROVIDER_NAMES = ['black_forest_labs', 'cloudflare_workers_ai', 'openai_compatible'] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];
export type OutputFormat = 'png' | 'jpeg' | 'webp';

/** An image that a customer sent to be edited: found whole before any provider sees it. */
export type ReferenceImage = {
  readonly bytes: Buffer;
  readonly contentType: 'image/png' | 'image/jpeg' | 'image/webp';
  readonly width: number;
  readonly height: number;
};

/** One image, as a provider is asked for it. */
export type ProviderRequest = {
  readonly upstreamModel: string;
  /** Never logged, never stored. */
  readonly prompt: string;
  readonly width: number;
  readonly height: number;
  /** Null: as the provider makes it by itself. */
  readonly outputFormat: OutputFormat | null;
  /** OpenAI's `moderation`: `low` asks for the less restrictive filter. */
  readonly moderation: 'auto' | 'low';
  /** Of an edit, in the customer's order; none: an image from text alone. */
  readonly references: readonly ReferenceImage[];
  /** What the catalogue says that an image costs us on this way; for providers whose answers do not say. */
  readonly costMicros?: MicroUsd | null;
};

/** The provider's own name for one image in the making. */
export type ProviderTask = {
  /** Null: the provider did not name it. */
  readonly taskId: string | null;
  /** Where another process may ask for it again. Null: nobody can, for the provider's one answer was the image. */
  readonly pollingUrl: string | null;
  /** What the provider charges us for it; null when it did not say, or charges the customer. */
  readonly costMicros: MicroUsd | null;
};

export type GenerateContext = {
  /** The account and the call that the image is for: what is scarce is shared evenly between accounts. */
  readonly slotRequest: SlotRequest;
  /** Aborted when the time for this attempt is over. */
  readonly signal: AbortSignal;
  /** Called as soon as the provider has named the task, before anybody waits for it. */
  readonly onTask: (task: ProviderTask) => void;
  /** How long the image may wait while the upstream account is full; the provider's own bound when absent. */
  readonly saturationWaitMaxMs?: number;
};

/**
 * Where images come from. `generate` and `resume` resolve with the bytes exactly as the provider sent them (whoever
 * called verifies them) and reject with nothing but a `ProviderFailure`.
 */
export interface ImageProvider {
  readonly name: ProviderName;
  /** Why it can never make this image, in words for the customer, beginning with the parameter; null when it can. Pure. */
  findObstacle(request: ProviderRequest): string | null;
  generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer>;
  /** Waits for a task that was started earlier, perhaps by a process that is dead now. */
  resume(task: ProviderTask, signal: AbortSignal): Promise<Buffer>;
  /** Gives up connections; nothing is asked of it afterwards. */
  close(): Promise<void>;
}

/** One that customers may attach keys of their own for. */
export interface KeyedImageProvider extends ImageProvider {
  /** Asks for something that costs nothing and only a good key is told. Never rejects. */
  checkKey(signal: AbortSignal): Promise<KeyCheck>;
}

/** What a provider says of a key. */
export type KeyCheck =
  /** The credit of its account, in micro-USD; null when the provider did not say. */
  | { readonly outcome: 'accepted'; readonly creditMicros: MicroUsd | null }
  | { readonly outcome: 'rejected' }
  | { readonly outcome: 'unreachable' };

/** A customer's key in plain words, for as long as one call. */
export type CustomerKey = {
  /** Of the stored key: calls over the same one share the task slots of its account. */
  readonly id: string;
  readonly secret: string;
};

/** The providers that are configured, by name. */
export interface ImageProviders {
  /** Over our own account there. */
  get(name: ProviderName): ImageProvider | undefined;
  /** Over the customer's account there. Made for one call: it is not kept, nor closed. */
  over(name: ProviderName, key: CustomerKey): KeyedImageProvider | undefined;
}

export const IMAGE_PROVIDERS = Symbol('IMAGE_PROVIDERS');
