import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Settings } from '../platform/config/settings.js';

/** What was put in the place of the outside parts that are not configured. */
export type Simulators = {
  /** Every outside part is configured in these. */
  readonly settings: Settings;
  /** Which parts are simulated, for banners and headers: `stripe`, `black-forest-labs`. */
  readonly simulated: readonly string[];
  /**
   * Call when the service answers at `url`. Prepares what a newcomer needs first and answers where it is
   * written down; null when there is nothing to prepare.
   */
  welcome(app: NestFastifyApplication, url: string): Promise<string | null>;
  stop(): Promise<void>;
};

/** A worker was started where no service has started the stand-ins that it should join. */
export class SimulatorMissingError extends Error {
  constructor(name: string) {
    super(
      `No ${name} stand-in has run on this data directory. Start the service first, with the same COFFER_DATA_DIR.`,
    );
    this.name = 'SimulatorMissingError';
  }
}

export function noSimulators(settings: Settings): Simulators {
  return { settings, simulated: [], welcome: () => Promise.resolve(null), stop: () => Promise.resolve() };
}
