import type { FailureKind } from './providers/provider-failure.js';
import type { ProviderName } from './providers/image-provider.js';

/** `pending`: answered before the outcome was known; recovery reports it once more when it is. */
export type GenerationOutcome = 'succeeded' | 'failed' | 'pending' | 'refused';

/** What generation tells about itself; metrics implement it, generation knows no metrics. */
export interface GenerationObserver {
  finished(event: {
    readonly model: string;
    readonly outcome: GenerationOutcome;
    readonly imagesDelivered: number;
    readonly durationMs: number;
    readonly recovered: boolean;
  }): void;
  /** One attempt at one image. */
  attempted(event: {
    readonly provider: ProviderName;
    readonly outcome: 'delivered' | FailureKind;
    readonly durationMs: number;
  }): void;
}

export const GENERATION_OBSERVER = Symbol('GENERATION_OBSERVER');

const ignore = (): void => undefined;

export const silentGenerationObserver: GenerationObserver = { finished: ignore, attempted: ignore };
