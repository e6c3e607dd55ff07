import type { FailureKind } from '../providers/provider-failure.js';
import type { CircuitState } from '../providers/circuit-breaker.machine.js';
import type { ProviderName } from '../providers/image-provider.js';

/** `pending` means that the call was answered before its outcome was known. Recovery reports the final outcome later. */
export type GenerationOutcome = 'succeeded' | 'failed' | 'pending' | 'refused';

/** Receives what happens to calls. The metrics implement it, so that the code that makes images does not depend on metrics. */
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
  /** One provider failed to make an image, and the next provider is asked for it. */
  fellThrough(event: {
    readonly from: ProviderName;
    readonly to: ProviderName;
    readonly failure: FailureKind;
  }): void;
  /** Called once at the start as well, so that the metrics list every configured provider. */
  circuitMoved(event: { readonly provider: ProviderName; readonly state: CircuitState }): void;
  /** A provider has answered whether it accepts our own key and our credit there. */
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
