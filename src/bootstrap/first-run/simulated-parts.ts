import { join } from 'node:path';
import { BFL_ACTIVE_TASKS_DEFAULT, type Settings } from '../../platform/config/settings.js';
import { SimulatorsNotInstalledError } from '../simulators.js';
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
export type SimulatedPart = {
  readonly name: string;
  /** Whether the settings lack the real part. */
  readonly isNeeded: (settings: Settings) => boolean;
  /** Rejects with `EADDRINUSE` when the port is taken; 0 takes any. */
  readonly start: (context: SimulatorContext, port: number) => Promise<StartedSimulator>;
  /** Returns the settings with the simulator in place of the real part; the product learns nothing else of it. */
  readonly configure: (settings: Settings, secrets: LocalSecrets, apiBase: URL) => Settings;
};

export const simulatedStripe: SimulatedPart = {
  name: 'stripe',
  isNeeded: (settings) => settings.stripe === null,
  start: async ({ settings, secrets, directory, log }, port) => {
    const { startSandboxStripe } = await loadFromSandbox(() => import('coffer-sandbox/stripe/server'));
    return startSandboxStripe({
      port,
      log,
      stateFile: join(directory, 'stripe.json'),
      apiKey: secrets.stripeSecretKey,
      webhookEndpoint: {
        // This is not the public URL, because the simulator delivers on this machine only.
        url: `http://127.0.0.1:${settings.port}/webhooks/stripe`,
        secret: secrets.stripeWebhookSecret,
      },
    });
  },
  configure: (settings, { stripeSecretKey, stripeWebhookSecret }, apiBase) => ({
    ...settings,
    stripe: { secretKey: stripeSecretKey, webhookSecret: stripeWebhookSecret, apiBase },
  }),
};

export const simulatedBlackForestLabs: SimulatedPart = {
  name: 'black-forest-labs',
  isNeeded: (settings) => settings.blackForestLabs === null,
  start: async ({ log }, port) => {
    const { startSandboxBlackForestLabs } = await loadFromSandbox(
      () => import('coffer-sandbox/black-forest-labs/server'),
    );
    // Every key without `invalid` in it is accepted, so that a newcomer can attach their own and also see one refused.
    return startSandboxBlackForestLabs({ port, log });
  },
  configure: (settings, { blackForestLabsKey: apiKey }, apiBase) => ({
    ...settings,
    // The simulator allows as many as the real API does.
    blackForestLabs: { apiKey, apiBase, activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT },
  }),
};

/** The simulators are a package of their own (`packages/sandbox`). A production image is built without it. */
async function loadFromSandbox<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')
      throw new SimulatorsNotInstalledError({ cause: error });
    throw error;
  }
}
