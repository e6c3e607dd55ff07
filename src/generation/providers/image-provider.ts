import type { MicroUsd } from '../../common/money.js';

export type ProviderName = 'black_forest_labs';
export type OutputFormat = 'png' | 'jpeg' | 'webp';

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
};

/** The provider's own name for one image in the making: enough to ask for it again from another process. */
export type ProviderTask = {
  readonly taskId: string;
  readonly pollingUrl: string;
  /** What the provider charges us for it; null when it did not say. */
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
  /** Gives up connections; nothing is asked of it afterwards. */
  close(): Promise<void>;
}

/** The providers that are configured, by name. */
export interface ImageProviders {
  get(name: ProviderName): ImageProvider | undefined;
}

export const IMAGE_PROVIDERS = Symbol('IMAGE_PROVIDERS');
