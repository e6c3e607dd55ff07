import type { FailureKind } from '../providers/provider-failure.js';
import type { CircuitState } from '../providers/circuit-breaker.machine.js';
import type { ProviderName } from '../providers/image-provider.js';

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
  /** An image that one provider failed to make is asked of another one. */
  fellThrough(event: {
    readonly from: ProviderName;
    readonly to: ProviderName;
    readonly failure: FailureKind;
  }): void;
  /** Also told once at the start, so that every configured provider is known. */
  circuitMoved(event: { readonly provider: ProviderName; readonly state: CircuitState }): void;
  /** Whether a provider's last word was that it refuses our own key or our credit there. */
  accountAnswered(event: { readonly provider: ProviderName; readonly refused: boolean }): void;
}

export const GENERATION_OBSERVER = Symbol('GENERATION_OBSERVER');

const ignore = (): void => undefined;

export const silentGenerationObserver: GenerationObserver = {
  finished: ignore,
  attempted: ignore,
  fellThrough: ignore,
  circuitMoved: ignore,
  accountAnswered: ignore,
};
