import type { Settings } from '../../platform/config/settings.js';
import type { LocalSecrets } from './local-secrets.js';

export type SimulatorContext = {
  readonly settings: Settings;
  readonly secrets: LocalSecrets;
  /** Where simulators keep their state. */
  readonly directory: string;
  readonly log: (fields: Readonly<Record<string, unknown>>, message: string) => void;
};

export type StartedSimulator = { readonly baseUrl: string; readonly close: () => Promise<void> };

/** One outside part that can be simulated on this machine. */
export type Simulator = {
  readonly name: string;
  /** Whether the settings lack the real part. */
  readonly isNeeded: (settings: Settings) => boolean;
  /** Rejects with `EADDRINUSE` when the port is taken; 0 takes any. */
  readonly start: (context: SimulatorContext, port: number) => Promise<StartedSimulator>;
  /** Returns the settings with the simulator in place of the real part; the product learns nothing else of it. */
  readonly configure: (settings: Settings, secrets: LocalSecrets, apiBase: URL) => Settings;
};
