import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Settings } from '../platform/config/settings.js';

/** The simulators that replace the outside parts that are not configured. */
export type Simulators = {
  /** The settings in which every outside part is configured. */
  readonly settings: Settings;
  /** Which parts are simulated, for banners and headers: `stripe`, `black-forest-labs`. */
  readonly simulated: readonly string[];
  /**
   * Call this when the service answers at `url`. It prepares what a newcomer needs first and returns the path of the
   * file that describes it; null when there is nothing to prepare.
   */
  welcome(app: NestFastifyApplication, url: string): Promise<string | null>;
  stop(): Promise<void>;
};

/** A worker was started where no service has started the simulators that it should join. */
export class SimulatorMissingError extends Error {
  constructor(name: string) {
    super(
      `No ${name} simulator has run on this data directory. Start the service first, with the same COFFER_DATA_DIR.`,
    );
    this.name = 'SimulatorMissingError';
  }
}

/** Something has to be simulated, and the package of the simulators is not there. */
export class SimulatorsNotInstalledError extends Error {
  constructor(options: ErrorOptions) {
    super(
      'Stripe or Black Forest Labs is not configured, and the package that simulates them (packages/sandbox) is not installed or not ' +
        'built. Set STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET and BFL_API_KEY, or run `npm ci && npm run build` in a clone.',
      options,
    );
    this.name = 'SimulatorsNotInstalledError';
  }
}

export function noSimulators(settings: Settings): Simulators {
  return { settings, simulated: [], welcome: () => Promise.resolve(null), stop: () => Promise.resolve() };
}
