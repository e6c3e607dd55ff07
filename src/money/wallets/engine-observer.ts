import type { WalletCommand } from './rules/command.js';
import type { Outcome, Rejection } from './rules/outcome.js';

/** What the engine tells about itself; metrics implement it, the engine knows no metrics. */
export interface EngineObserver {
  queueLength(length: number): void;
  saturated(): void;
  committed(batchSize: number, durationMs: number): void;
  failed(batchSize: number, error: unknown): void;
  retried(error: unknown): void;
  accepted(command: WalletCommand, outcome: Outcome): void;
  refused(rejection: Rejection): void;
}

export const ENGINE_OBSERVER = Symbol('ENGINE_OBSERVER');

const ignore = (): void => undefined;

export const silentObserver: EngineObserver = {
  queueLength: ignore,
  saturated: ignore,
  committed: ignore,
  failed: ignore,
  retried: ignore,
  accepted: ignore,
  refused: ignore,
};
