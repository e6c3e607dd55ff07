import type { MicroUsd } from '../../common/money.js';

export type ProviderName = 'black_forest_labs';
export type OutputFormat = 'png' | 'jpeg' | 'webp';

/** An image that a customer sent to be edited: decoded and found whole before any provider sees it. */
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
  readonly outputFormat: OutputFormat;
  /** OpenAI's `moderation`: `low` asks for the less restrictive filter. */
  readonly moderation: 'auto' | 'low';
  /** Of an edit, in the customer's order; none: an image from text alone. */
  readonly references: readonly ReferenceImage[];
};

/** The provider's own name for one image in the making: enough to ask for it again from another process. */
export type ProviderTask = {
  readonly taskId: string;
  readonly pollingUrl: string;
  /** What the provider charges us for it; null when it did not say, or charges the customer. */
  readonly costMicros: MicroUsd | null;
};

export type GenerateContext = {
  /** Aborted at the call's deadline. */
  readonly signal: AbortSignal;
  /** Called as soon as the provider has named the task, before anybody waits for it. */
  readonly onTask: (task: ProviderTask) => void;
};

/**
 * Where images come from. Both methods resolve with the bytes exactly as the provider sent them (whoever
 * called verifies them) and reject with nothing but a `ProviderFailure`.
 */
export interface ImageProvider {
  readonly name: ProviderName;
  generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer>;
  /** Waits for a task that was started earlier, perhaps by a process that is dead now. */
  resume(task: ProviderTask, signal: AbortSignal): Promise<Buffer>;
  /** Asks for something that costs nothing and only a good key is told. Never rejects. */
  checkKey(signal: AbortSignal): Promise<KeyCheck>;
  /** Gives up connections; nothing is asked of it afterwards. */
  close(): Promise<void>;
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
  over(name: ProviderName, key: CustomerKey): ImageProvider | undefined;
}

export const IMAGE_PROVIDERS = Symbol('IMAGE_PROVIDERS');
