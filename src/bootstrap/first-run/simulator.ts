import type { Settings } from '../../platform/config/settings.js';
import type { LocalSecrets } from './local-secrets.js';

export type SimulatorContext = {
  readonly settings: Settings;
  readonly secrets: LocalSecrets;
  /** Where stand-ins keep their state. */
  readonly directory: string;
  readonly log: (fields: Readonly<Record<string, unknown>>, message: string) => void;
};

export type StartedSimulator = { readonly baseUrl: string; readonly close: () => Promise<void> };

/** One outside part that can be played on this machine. */
export type Simulator = {
  readonly name: string;
  /** Whether the settings leave the real part out. */
  readonly isNeeded: (settings: Settings) => boolean;
  /** Rejects with `EADDRINUSE` when the port is taken; 0 takes any. */
  readonly start: (context: SimulatorContext, port: number) => Promise<StartedSimulator>;
  /** The settings with the stand-in in the part's place: the product learns nothing else of it. */
  readonly configure: (settings: Settings, secrets: LocalSecrets, apiBase: URL) => Settings;
};
